/* Looks at bodies for numbers that JSON cannot hold. Twins: engine/values.py */

#include "built.h"
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

/* engine/values.py: has_odd_number */
static PyObject *
py_has_odd_number(PyObject *module, PyObject *data)
{
    char *text;
    Py_ssize_t size, digits = 0;
    if (PyBytes_AsStringAndSize(data, &text, &size) < 0)
        return NULL;
    for (Py_ssize_t at = 0; at < size && digits < 19; at++) {
        digits = text[at] >= '0' && text[at] <= '9' ? digits + 1 : 0;
        if (digits == 3 && at >= 4 && text[at - 3] == '-' && (text[at - 4] | 32) == 'e')
            digits = 19;
    }
    return PyBool_FromLong(digits >= 19);
}

static PyMethodDef functions[] = {
    {"finite", py_finite, METH_O, NULL},
    {"has_odd_number", py_has_odd_number, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};

int
add_values(PyObject *module)
{
    return PyModule_AddFunctions(module, functions);
}
