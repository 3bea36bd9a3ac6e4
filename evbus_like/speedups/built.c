/* Hot functions of the bus. Each does what its twin in Python does, which is the specification; see __init__.py.

   The stable interface of Python 3.11, so that one build serves all later versions. No function runs Python code while
   it holds a borrowed reference. */

#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>
#include <limits.h>
#include <math.h>
#include <stdint.h>
#include <string.h>
#include <structmember.h>

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

/* ---- CRC-32C (RFC 3720, appendix B.4), which Kafka's record batches have */

#if defined(__x86_64__) && defined(__GNUC__)
#define HAS_CRC __builtin_cpu_supports("sse4.2")

__attribute__((target("sse4.2"))) static uint32_t
crc32c(const char *data, Py_ssize_t size)
{
    uint64_t crc = 0xFFFFFFFF, word;
    for (; size >= 8; size -= 8, data += 8) {
        memcpy(&word, data, 8);
        crc = __builtin_ia32_crc32di(crc, word);
    }
    while (size-- > 0)
        crc = __builtin_ia32_crc32qi((uint32_t)crc, (unsigned char)*data++);
    return ~(uint32_t)crc;
}
#else /* there is no RecordBatch either */
#define HAS_CRC 0
#define crc32c(data, size) 0
#endif

/* ---- A record batch of Kafka, version 2 (https://kafka.apache.org/documentation/#recordbatch), without compression.
   The twin is aiokafka's DefaultRecordBatchBuilder. */

#define HEADER 61     /* bytes before the first record */
#define AFTER_LENGTH 12
#define AFTER_CRC 21

typedef struct {
    PyObject_HEAD
    PyObject *buffer; /* a bytearray; NULL once it was given away */
    Py_ssize_t used, limit;
    int32_t count;
    int64_t first_time, latest_time;
} Batch;

static uint64_t
zigzag(int64_t number)
{
    return (uint64_t)number << 1 ^ (uint64_t)(number >> 63);
}

static Py_ssize_t
varint_size(uint64_t number)
{
    Py_ssize_t size = 1;
    while (number >>= 7)
        size++;
    return size;
}

static char *
put_varint(char *at, uint64_t number)
{
    for (; number >= 0x80; number >>= 7)
        *at++ = (char)(number | 0x80);
    *at++ = (char)number;
    return at;
}

static char *
put_bytes(char *at, const char *bytes, Py_ssize_t size) /* of -1: null */
{
    at = put_varint(at, zigzag(size));
    if (size > 0) {
        memcpy(at, bytes, size);
        at += size;
    }
    return at;
}

static char *
put_integer(char *at, uint64_t number, int size)
{
    while (size--)
        *at++ = (char)(number >> 8 * size);
    return at;
}

/* Gives the bytes of a field, with a size of -1 for None; -1 and an exception for other types. */
static int
field(PyObject *value, char **bytes, Py_ssize_t *size)
{
    if (value == Py_None) {
        *bytes = NULL;
        *size = -1;
        return 0;
    }
    return PyBytes_AsStringAndSize(value, bytes, size);
}

static int
header(PyObject *headers, Py_ssize_t index, const char **name, Py_ssize_t *name_size, char **bytes, Py_ssize_t *size)
{
    PyObject *pair = PyList_GetItem(headers, index);
    if (pair == NULL || !PyTuple_Check(pair) || PyTuple_Size(pair) != 2) {
        PyErr_SetString(PyExc_TypeError, "a header is a pair of its name and its value");
        return -1;
    }
    *name = PyUnicode_AsUTF8AndSize(PyTuple_GetItem(pair, 0), name_size);
    return *name == NULL ? -1 : field(PyTuple_GetItem(pair, 1), bytes, size);
}

static Py_ssize_t
field_size(Py_ssize_t size)
{
    return varint_size(zigzag(size)) + (size > 0 ? size : 0);
}

/* append(timestamp, key, value, headers): True; None if there is no room for one more record */
static PyObject *
batch_append(Batch *self, PyObject *const *arguments, Py_ssize_t given)
{
    char *key, *value, *bytes;
    const char *name;
    Py_ssize_t key_size, value_size, name_size, size;
    if (given != 4 || !PyList_Check(arguments[3]) || Py_TYPE(arguments[0]) != &PyLong_Type)
        return PyErr_Format(PyExc_TypeError, "append takes a timestamp, a key, a value and a list of headers");
    int64_t time = PyLong_AsLongLong(arguments[0]);
    if ((time == -1 && PyErr_Occurred()) || field(arguments[1], &key, &key_size) < 0 ||
        field(arguments[2], &value, &value_size) < 0)
        return NULL;
    if (self->buffer == NULL)
        return PyErr_Format(PyExc_ValueError, "the batch is built already");
    PyObject *headers = arguments[3];
    Py_ssize_t count = PyList_Size(headers);
    uint64_t delta = zigzag((int64_t)((uint64_t)time - (uint64_t)(self->count ? self->first_time : time)));
    Py_ssize_t body = 1 + varint_size(delta) + varint_size(zigzag(self->count)) + field_size(key_size) +
                      field_size(value_size) + varint_size(zigzag(count));
    for (Py_ssize_t index = 0; index < count; index++) {
        if (header(headers, index, &name, &name_size, &bytes, &size) < 0)
            return NULL;
        body += field_size(name_size) + field_size(size);
    }
    Py_ssize_t needed = self->used + varint_size(zigzag(body)) + body;
    if (self->count && needed >= self->limit)
        Py_RETURN_NONE;
    if (needed > INT_MAX)
        return PyErr_Format(PyExc_OverflowError, "a record batch of %zd bytes is too large", needed);
    Py_ssize_t room = PyByteArray_Size(self->buffer);
    if (needed > room && PyByteArray_Resize(self->buffer, needed > 2 * room ? needed : 2 * room) < 0)
        return NULL;
    char *at = PyByteArray_AsString(self->buffer) + self->used;
    at = put_varint(at, zigzag(body));
    *at++ = 0; /* attributes */
    at = put_varint(at, delta);
    at = put_varint(at, zigzag(self->count));
    at = put_bytes(at, key, key_size);
    at = put_bytes(at, value, value_size);
    at = put_varint(at, zigzag(count));
    for (Py_ssize_t index = 0; index < count; index++) {
        header(headers, index, &name, &name_size, &bytes, &size);
        at = put_bytes(at, name, name_size);
        at = put_bytes(at, bytes, size);
    }
    if (!self->count)
        self->first_time = self->latest_time = time;
    else if (time > self->latest_time)
        self->latest_time = time;
    self->used = needed;
    self->count++;
    Py_RETURN_TRUE;
}

/* build(producer_id, producer_epoch, base_sequence): the bytes of the batch; nothing can be appended any more */
static PyObject *
batch_build(Batch *self, PyObject *arguments)
{
    long long producer;
    int epoch, sequence;
    if (!PyArg_ParseTuple(arguments, "Lii", &producer, &epoch, &sequence))
        return NULL;
    if (self->buffer == NULL)
        return PyErr_Format(PyExc_ValueError, "the batch is built already");
    if (PyByteArray_Resize(self->buffer, self->used) < 0)
        return NULL;
    char *begin = PyByteArray_AsString(self->buffer);
    char *at = put_integer(begin, 0, 8); /* the first offset, which the broker sets */
    at = put_integer(at, self->used - AFTER_LENGTH, 4);
    at = put_integer(at, (uint64_t)-1, 4); /* the leader's epoch: not known */
    *at++ = 2;                             /* the version */
    at += 4;                               /* the checksum, below */
    at = put_integer(at, 0, 2);            /* attributes */
    at = put_integer(at, self->count ? self->count - 1 : 0, 4);
    at = put_integer(at, self->first_time, 8);
    at = put_integer(at, self->latest_time, 8);
    at = put_integer(at, producer, 8);
    at = put_integer(at, epoch, 2);
    at = put_integer(at, sequence, 4);
    put_integer(at, self->count, 4);
    put_integer(begin + AFTER_CRC - 4, crc32c(begin + AFTER_CRC, self->used - AFTER_CRC), 4);
    PyObject *built = self->buffer;
    self->buffer = NULL;
    return built;
}

static PyObject *
batch_size(Batch *self, PyObject *unused)
{
    return PyLong_FromSsize_t(self->used);
}

static PyObject *
batch_count(Batch *self, PyObject *unused)
{
    return PyLong_FromLong(self->count);
}

static PyObject *
batch_new(PyTypeObject *type, PyObject *arguments, PyObject *keywords)
{
    Py_ssize_t limit;
    if (!PyArg_ParseTuple(arguments, "n", &limit))
        return NULL;
    Batch *self = (Batch *)PyType_GenericAlloc(type, 0);
    if (self == NULL)
        return NULL;
    self->limit = limit;
    self->used = HEADER;
    self->first_time = self->latest_time = -1;
    self->buffer = PyByteArray_FromStringAndSize(NULL, limit < 4096 ? 4096 : limit);
    if (self->buffer == NULL)
        Py_CLEAR(self);
    return (PyObject *)self;
}

static void
batch_dealloc(Batch *self)
{
    PyTypeObject *type = Py_TYPE((PyObject *)self);
    Py_XDECREF(self->buffer);
    ((freefunc)PyType_GetSlot(type, Py_tp_free))(self);
    Py_DECREF(type);
}

static PyMethodDef batch_methods[] = {
    {"append", (PyCFunction)(void (*)(void))batch_append, METH_FASTCALL, NULL},
    {"build", (PyCFunction)batch_build, METH_VARARGS, NULL},
    {"size", (PyCFunction)batch_size, METH_NOARGS, NULL},
    {"count", (PyCFunction)batch_count, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot batch_slots[] = {
    {Py_tp_new, batch_new},
    {Py_tp_dealloc, batch_dealloc},
    {Py_tp_methods, batch_methods},
    {0, NULL},
};

static PyType_Spec batch_spec = {
    "evbus_like.speedups._built.RecordBatch", sizeof(Batch), 0, Py_TPFLAGS_DEFAULT, batch_slots,
};

/* ---- The headers of a received record. kafka/records.py: fields */

static PyObject *
py_fields(PyObject *module, PyObject *headers)
{
    static const char *const names[] = {"evbus-routing-key", "evbus-id", "content-type"};
    PyObject *found[3] = {NULL, NULL, NULL}, *others = NULL, *name, *text = NULL, *result = NULL;
    char *bytes;
    Py_ssize_t size;
    if (!PyList_Check(headers) || (others = PyDict_New()) == NULL)
        goto end;
    for (Py_ssize_t index = 0; index < PyList_Size(headers); index++) {
        PyObject *pair = PyList_GetItem(headers, index);
        if (!PyTuple_Check(pair) || PyTuple_Size(pair) != 2)
            goto end;
        name = PyTuple_GetItem(pair, 0);
        if (Py_TYPE(name) != &PyUnicode_Type || PyBytes_AsStringAndSize(PyTuple_GetItem(pair, 1), &bytes, &size) < 0 ||
            (text = PyUnicode_DecodeUTF8(bytes, size, NULL)) == NULL)
            goto end;
        int which = 0;
        while (which < 3 && PyUnicode_CompareWithASCIIString(name, names[which]) != 0)
            which++;
        if (which < 3 ? found[which] != NULL || PyUnicode_GetLength(text) > 255
                      : PyDict_Contains(others, name) || PyDict_SetItem(others, name, text) < 0)
            goto end;
        if (which < 3)
            found[which] = text;
        else
            Py_DECREF(text);
        text = NULL;
    }
    for (int which = 0; which < 3; which++)
        if (found[which] == NULL && (found[which] = PyUnicode_FromStringAndSize("", 0)) == NULL)
            goto end;
    result = PyTuple_Pack(4, found[0], found[1], found[2], others);
end:
    Py_XDECREF(text);
    Py_XDECREF(others);
    for (int which = 0; which < 3; which++)
        Py_XDECREF(found[which]);
    if (result == NULL) { /* it is left to Python */
        PyErr_Clear();
        Py_RETURN_NONE;
    }
    return result;
}

/* ---- An event. engine/event.py: EventFields, untrack

   The garbage collector need not go over an event that nothing it holds can lead back to: texts, numbers and bytes
   refer to nothing, headers are its own dict of them, and `packed` is a text and bytes. So an event is not tracked
   while its body is bytes, or something that the collector does not track either, and it has no receipt. */

enum { BODY, CONTENT_TYPE, HEADERS, ID, KEY, PACKED, PROFILE, QUIET, RECEIPT, ROUTING_KEY, SEQ, SIZE, TIMESTAMP, FIELDS };

typedef struct {
    PyObject_HEAD
    PyObject *held[FIELDS];
} Event;

static PyObject *event_type, *empty, *zero, *never;

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

/* ---- the module */

static int
execute(PyObject *module)
{
    event_type = PyType_FromModuleAndSpec(module, &event_spec, NULL);
    empty = PyUnicode_FromStringAndSize("", 0);
    zero = PyLong_FromLong(0);
    never = PyFloat_FromDouble(0.0);
    if (!empty || !zero || !never || PyModule_AddObjectRef(module, "EventFields", event_type) < 0)
        return -1;
    if (!HAS_CRC)
        return 0;
    PyObject *type = PyType_FromModuleAndSpec(module, &batch_spec, NULL);
    int failed = type == NULL || PyModule_AddObjectRef(module, "RecordBatch", type) < 0;
    Py_XDECREF(type);
    return failed ? -1 : 0;
}

static PyMethodDef functions[] = {
    {"fields", py_fields, METH_O, NULL},
    {"finite", py_finite, METH_O, NULL},
    {"untrack", py_untrack, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot slots[] = {{Py_mod_exec, execute}, {0, NULL}};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "_built", NULL, 0, functions, slots, NULL, NULL, NULL,
};

PyMODINIT_FUNC
PyInit__built(void)
{
    return PyModuleDef_Init(&definition);
}
