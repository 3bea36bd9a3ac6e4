/* The module: hot functions of the bus. */

#include "built.h"

static int
execute(PyObject *module)
{
    return add_values(module) < 0 || add_event(module) < 0 || add_record_batch(module) < 0 ||
                   add_received_record(module) < 0
               ? -1
               : 0;
}

static PyModuleDef_Slot slots[] = {{Py_mod_exec, execute}, {0, NULL}};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "_built", NULL, 0, NULL, slots, NULL, NULL, NULL,
};

PyMODINIT_FUNC
PyInit__built(void)
{
    return PyModuleDef_Init(&definition);
}
