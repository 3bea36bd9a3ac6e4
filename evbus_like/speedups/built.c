/* Hot functions of the bus. Each does what its twin in Python does, which is the specification; see __init__.py.

   The stable interface of Python 3.11, so that one build serves all later versions. No function runs Python code while
   it holds a borrowed reference. */

#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>
#include <math.h>

#define LEVELS 256 /* MAX_LEVELS of engine/values.py */

static int
is_plain(PyObject *value)
{
    PyTypeObject *type = Py_TYPE(value);
    return type == &PyUnicode_Type || type == &PyLong_Type || value == Py_None || type == &PyBool_Type ||
           type == &PyBytes_Type;
}

static int is_finite(PyObject *value, int levels);

static int
all_finite(PyObject *value, Py_ssize_t size, PyObject *(*item_of)(PyObject *, Py_ssize_t), int levels)
{
    for (Py_ssize_t index = 0; index < size; index++) {
        PyObject *item = item_of(value, index);
        if (!is_plain(item) && !is_finite(item, levels))
            return 0;
    }
    return 1;
}

/* `levels` are left for the value and what it holds: at least one. */
static int
is_finite(PyObject *value, int levels)
{
    PyTypeObject *type = Py_TYPE(value);
    if (type == &PyDict_Type) {
        PyObject *key, *item;
        Py_ssize_t position = 0;
        if (levels == 1)
            return PyDict_Size(value) == 0;
        while (PyDict_Next(value, &position, &key, &item))
            if ((!is_plain(key) && !is_finite(key, levels - 1)) || (!is_plain(item) && !is_finite(item, levels - 1)))
                return 0;
        return 1;
    }
    if (type == &PyList_Type)
        return levels == 1 ? PyList_Size(value) == 0
                           : all_finite(value, PyList_Size(value), PyList_GetItem, levels - 1);
    if (type == &PyTuple_Type)
        return levels == 1 ? PyTuple_Size(value) == 0
                           : all_finite(value, PyTuple_Size(value), PyTuple_GetItem, levels - 1);
    return type == &PyFloat_Type ? isfinite(PyFloat_AsDouble(value)) : is_plain(value);
}

/* engine/values.py: finite */
static PyObject *
py_finite(PyObject *module, PyObject *value)
{
    return PyBool_FromLong(is_finite(value, LEVELS));
}

static PyMethodDef functions[] = {
    {"finite", py_finite, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot slots[] = {{0, NULL}};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "_built", NULL, 0, functions, slots, NULL, NULL, NULL,
};

PyMODINIT_FUNC
PyInit__built(void)
{
    return PyModuleDef_Init(&definition);
}
