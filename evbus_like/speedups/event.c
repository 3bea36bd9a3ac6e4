/* An event. Twins: EventFields and untrack of engine/event.py

   The garbage collector need not go over an event that nothing it holds can lead back to: texts, numbers and bytes
   refer to nothing, headers are its own dict of them, and `packed` is a text and bytes. So an event is not tracked
   while its body is bytes, or something that the collector does not track either, and it has no receipt. */

#include "built.h"

PyObject *event_type;
static PyObject *empty, *zero, *never;

static void
event_hold(Event *self, int field, PyObject *value)
{
    PyObject *before = self->held[field];
    Py_INCREF(value);
    self->held[field] = value;
    Py_XDECREF(before);
}

/* fill(prefix, number, routing_key, body, profile, headers, key, quiet) */
static PyObject *
event_fill(Event *self, PyObject *const *given, Py_ssize_t count)
{
    char text[64];
    Py_ssize_t size = 0;
    const char *prefix = count == 8 && PyUnicode_Check(given[0]) ? PyUnicode_AsUTF8AndSize(given[0], &size) : NULL;
    if (prefix == NULL || size > 40 || !PyLong_Check(given[1]))
        return PyErr_Format(PyExc_TypeError, "fill takes a short prefix, a number and six values");
    uint64_t number = PyLong_AsUnsignedLongLong(given[1]);
    if (number == UINT64_MAX && PyErr_Occurred())
        return NULL;
    memcpy(text, prefix, size);
    for (int shift = number >> 32 ? 60 : 28; shift >= 0; shift -= 4)
        if (!shift || number >> shift)
            text[size++] = "0123456789abcdef"[number >> shift & 15];
    PyObject *id = PyUnicode_FromStringAndSize(text, size);
    if (id == NULL)
        return NULL;
    PyObject *values[FIELDS] = {given[3], empty, given[5], id, given[6], Py_None, given[4],
                                given[7], Py_None, given[2], zero, zero, never};
    for (int field = 0; field < FIELDS; field++)
        event_hold(self, field, values[field]);
    Py_DECREF(id);
    Py_RETURN_NONE;
}

/* make(...): a new event, which is filled */
static PyObject *
event_make(PyTypeObject *type, PyObject *const *given, Py_ssize_t count)
{
    Event *self = (Event *)((allocfunc)PyType_GetSlot(type, Py_tp_alloc))(type, 0);
    PyObject *none = self ? event_fill(self, given, count) : NULL;
    Py_XDECREF(none);
    if (none == NULL)
        Py_CLEAR(self);
    else if (!PyObject_GC_IsTracked(given[3]))
        PyObject_GC_UnTrack(self);
    return (PyObject *)self;
}

/* attach(receipt): from now on the event is tracked */
static PyObject *
event_attach(Event *self, PyObject *receipt)
{
    event_hold(self, RECEIPT, receipt);
    if (!PyObject_GC_IsTracked((PyObject *)self))
        PyObject_GC_Track(self);
    Py_RETURN_NONE;
}

static int
event_traverse(Event *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE((PyObject *)self));
    for (int field = 0; field < FIELDS; field++)
        Py_VISIT(self->held[field]);
    return 0;
}

static int
event_clear(Event *self)
{
    for (int field = 0; field < FIELDS; field++)
        Py_CLEAR(self->held[field]);
    return 0;
}

static void
event_dealloc(Event *self)
{
    PyTypeObject *type = Py_TYPE((PyObject *)self);
    PyObject_GC_UnTrack(self);
    event_clear(self);
    PyObject_GC_Del(self);
    Py_DECREF(type);
}

static PyMethodDef event_methods[] = {
    {"fill", (PyCFunction)(void (*)(void))event_fill, METH_FASTCALL, NULL},
    {"make", (PyCFunction)(void (*)(void))event_make, METH_CLASS | METH_FASTCALL, NULL},
    {"attach", (PyCFunction)event_attach, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};

#define FIELD(name, field, flags) {name, T_OBJECT_EX, offsetof(Event, held[field]), flags, NULL}

static PyMemberDef event_members[] = {
    FIELD("body", BODY, 0), FIELD("content_type", CONTENT_TYPE, 0), FIELD("headers", HEADERS, 0), FIELD("id", ID, 0),
    FIELD("key", KEY, 0), FIELD("packed", PACKED, 0), FIELD("profile", PROFILE, 0), FIELD("quiet", QUIET, 0),
    FIELD("receipt", RECEIPT, READONLY), FIELD("routing_key", ROUTING_KEY, 0), FIELD("seq", SEQ, 0),
    FIELD("size", SIZE, 0), FIELD("timestamp", TIMESTAMP, 0), {NULL, 0, 0, 0, NULL},
};

static PyType_Slot event_slots[] = {
    {Py_tp_traverse, event_traverse}, {Py_tp_clear, event_clear}, {Py_tp_dealloc, event_dealloc},
    {Py_tp_methods, event_methods}, {Py_tp_members, event_members}, {0, NULL},
};

static PyType_Spec event_spec = {
    "evbus_like.speedups._built.EventFields", sizeof(Event), 0,
    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC, event_slots,
};

/* untrack(events) */
static PyObject *
py_untrack(PyObject *module, PyObject *events)
{
    for (Py_ssize_t index = PyList_Check(events) ? PyList_Size(events) : 0; index-- > 0;) {
        Event *event = (Event *)PyList_GetItem(events, index);
        if (PyObject_TypeCheck((PyObject *)event, (PyTypeObject *)event_type) && event->held[RECEIPT] == Py_None &&
            event->held[BODY] != NULL && Py_TYPE(event->held[BODY]) == &PyBytes_Type)
            PyObject_GC_UnTrack(event);
    }
    Py_RETURN_NONE;
}

static PyMethodDef functions[] = {
    {"untrack", py_untrack, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};

int
add_event(PyObject *module)
{
    event_type = PyType_FromModuleAndSpec(module, &event_spec, NULL);
    empty = PyUnicode_FromStringAndSize("", 0);
    zero = PyLong_FromLong(0);
    never = PyFloat_FromDouble(0.0);
    if (!empty || !zero || !never || PyModule_AddObjectRef(module, "EventFields", event_type) < 0)
        return -1;
    return PyModule_AddFunctions(module, functions);
}
