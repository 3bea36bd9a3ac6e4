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
#define FEW 16     /* headers of a record that need no memory of their own */

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
field(PyObject *value, const char **bytes, Py_ssize_t *size)
{
    if (value == Py_None) {
        *bytes = NULL;
        *size = -1;
        return 0;
    }
    return PyBytes_AsStringAndSize(value, (char **)bytes, size);
}

typedef struct {
    const char *name, *bytes;
    Py_ssize_t name_size, size;
} Header;

static int
header(PyObject *pair, Header *made)
{
    if (pair == NULL || !PyTuple_Check(pair) || PyTuple_Size(pair) != 2) {
        PyErr_SetString(PyExc_TypeError, "a header is a pair of its name and its value");
        return -1;
    }
    made->name = PyUnicode_AsUTF8AndSize(PyTuple_GetItem(pair, 0), &made->name_size);
    return made->name == NULL ? -1 : field(PyTuple_GetItem(pair, 1), &made->bytes, &made->size);
}

static Py_ssize_t
field_size(Py_ssize_t size)
{
    return varint_size(zigzag(size)) + (size > 0 ? size : 0);
}

/* Appends one record: 1; 0 if there is no room for one more; -1 and an exception. */
static int
append_record(Batch *self, int64_t time, const char *key, Py_ssize_t key_size, const char *value, Py_ssize_t value_size,
              const Header *headers, Py_ssize_t count)
{
    uint64_t delta = zigzag((int64_t)((uint64_t)time - (uint64_t)(self->count ? self->first_time : time)));
    Py_ssize_t body = 1 + varint_size(delta) + varint_size(zigzag(self->count)) + field_size(key_size) +
                      field_size(value_size) + varint_size(zigzag(count));
    for (Py_ssize_t index = 0; index < count; index++)
        body += field_size(headers[index].name_size) + field_size(headers[index].size);
    Py_ssize_t needed = self->used + varint_size(zigzag(body)) + body;
    if (self->count && needed >= self->limit)
        return 0;
    if (needed > INT_MAX) {
        PyErr_Format(PyExc_OverflowError, "a record batch of %zd bytes is too large", needed);
        return -1;
    }
    Py_ssize_t room = PyByteArray_Size(self->buffer);
    if (needed > room && PyByteArray_Resize(self->buffer, needed > 2 * room ? needed : 2 * room) < 0)
        return -1;
    char *at = PyByteArray_AsString(self->buffer) + self->used;
    at = put_varint(at, zigzag(body));
    *at++ = 0; /* attributes */
    at = put_varint(at, delta);
    at = put_varint(at, zigzag(self->count));
    at = put_bytes(at, key, key_size);
    at = put_bytes(at, value, value_size);
    at = put_varint(at, zigzag(count));
    for (const Header *each = headers; each < headers + count; each++) {
        at = put_bytes(at, each->name, each->name_size);
        at = put_bytes(at, each->bytes, each->size);
    }
    if (!self->count)
        self->first_time = self->latest_time = time;
    else if (time > self->latest_time)
        self->latest_time = time;
    self->used = needed;
    self->count++;
    return 1;
}

/* append(timestamp, key, value, headers): True; None if there is no room for one more record */
static PyObject *
batch_append(Batch *self, PyObject *const *arguments, Py_ssize_t given)
{
    const char *key, *value;
    Py_ssize_t key_size, value_size;
    if (given != 4 || !PyList_Check(arguments[3]) || Py_TYPE(arguments[0]) != &PyLong_Type)
        return PyErr_Format(PyExc_TypeError, "append takes a timestamp, a key, a value and a list of headers");
    int64_t time = PyLong_AsLongLong(arguments[0]);
    if ((time == -1 && PyErr_Occurred()) || field(arguments[1], &key, &key_size) < 0 ||
        field(arguments[2], &value, &value_size) < 0)
        return NULL;
    if (self->buffer == NULL)
        return PyErr_Format(PyExc_ValueError, "the batch is built already");
    Py_ssize_t count = PyList_Size(arguments[3]);
    Header few[FEW], *headers = few;
    if (count > FEW && (headers = PyMem_Malloc(count * sizeof(Header))) == NULL)
        return PyErr_NoMemory();
    int took = 0;
    for (Py_ssize_t index = 0; index < count && took == 0; index++)
        took = header(PyList_GetItem(arguments[3], index), &headers[index]);
    if (took == 0)
        took = append_record(self, time, key, key_size, value, value_size, headers, count);
    if (headers != few)
        PyMem_Free(headers);
    return took < 0 ? NULL : Py_NewRef(took ? Py_True : Py_None);
}

static int
is_same(PyObject *one, PyObject *other)
{
    return one == other || (one != NULL && other != NULL && PyUnicode_Check(one) && PyUnicode_Check(other) &&
                            PyUnicode_Compare(one, other) == 0);
}

/* Appends the record of an event: 1; 0 if there is no room, or it is not a usual one that is like the `first`; -1 and
   an exception. */
static int
append_event(Batch *self, Event *event, Event *first, const char *key, Py_ssize_t key_size)
{
    PyObject *const *own = event->held, *const *other = first->held;
    Header headers[] = {{"evbus-id", NULL, 8, 0}, {"content-type", NULL, 12, 0}};
    for (int field = 0; field < FIELDS; field++)
        if (own[field] == NULL)
            return 0;
    if (own[HEADERS] != Py_None || !PyUnicode_Check(own[ID]) || !PyUnicode_Check(own[CONTENT_TYPE]) ||
        !PyBytes_Check(own[BODY]) || !PyFloat_Check(own[TIMESTAMP]) || !is_same(own[ROUTING_KEY], other[ROUTING_KEY]) ||
        !is_same(own[KEY], other[KEY]) || !is_same(own[CONTENT_TYPE], other[CONTENT_TYPE]))
        return 0;
    headers[0].bytes = PyUnicode_AsUTF8AndSize(own[ID], &headers[0].size);
    headers[1].bytes = PyUnicode_AsUTF8AndSize(own[CONTENT_TYPE], &headers[1].size);
    if (headers[0].bytes == NULL || headers[1].bytes == NULL)
        return -1;
    int64_t time = (int64_t)(PyFloat_AsDouble(own[TIMESTAMP]) * 1000);
    return append_record(self, time, key, key_size, PyBytes_AsString(own[BODY]), PyBytes_Size(own[BODY]), headers, 2);
}

/* extend(events, at, most, key): the number of records that were appended, of events[at] and those behind it, at most
   `most`. It ends where the batch is full, and before an event that is not like events[at], or has headers of its own.
   The twin is the loop of lay_out in kafka/plan.py. */
static PyObject *
batch_extend(Batch *self, PyObject *const *arguments, Py_ssize_t given)
{
    Event *first = NULL;
    const char *key;
    Py_ssize_t key_size, done = 0;
    if (given != 4 || !PyList_Check(arguments[0]))
        return PyErr_Format(PyExc_TypeError, "extend takes a list of events, where to begin, how many, and a key");
    Py_ssize_t at = PyLong_AsSsize_t(arguments[1]), most = PyLong_AsSsize_t(arguments[2]);
    if (PyErr_Occurred() || field(arguments[3], &key, &key_size) < 0)
        return NULL;
    if (self->buffer == NULL)
        return PyErr_Format(PyExc_ValueError, "the batch is built already");
    int took = at >= 0;
    while (took > 0 && done < most && at + done < PyList_Size(arguments[0])) {
        PyObject *event = PyList_GetItem(arguments[0], at + done);
        if (!PyObject_TypeCheck(event, (PyTypeObject *)event_type))
            break;
        first = first == NULL ? (Event *)event : first;
        took = append_event(self, (Event *)event, first, key, key_size);
        done += took > 0;
    }
    return took < 0 ? NULL : PyLong_FromSsize_t(done);
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
    {"extend", (PyCFunction)(void (*)(void))batch_extend, METH_FASTCALL, NULL},
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

/* ---- Received records */

/* kafka/records.py: fields */
static PyObject *
fields_of(const Header *headers, Py_ssize_t count)
{
    static const char *const names[] = {"evbus-routing-key", "evbus-id", "content-type"};
    PyObject *found[3] = {NULL, NULL, NULL}, *others = PyDict_New(), *text = NULL, *name = NULL, *result = NULL;
    if (others == NULL)
        return NULL;
    for (const Header *each = headers; each < headers + count; each++) {
        if (each->size < 0 || (text = PyUnicode_DecodeUTF8(each->bytes, each->size, NULL)) == NULL)
            goto end;
        int which = 0;
        while (which < 3 && (strlen(names[which]) != (size_t)each->name_size ||
                             memcmp(names[which], each->name, each->name_size) != 0))
            which++;
        if (which < 3) {
            if (found[which] != NULL || PyUnicode_GetLength(text) > 255)
                goto end;
            found[which] = text;
        }
        else {
            name = PyUnicode_DecodeUTF8(each->name, each->name_size, NULL);
            if (name == NULL || PyDict_Contains(others, name) || PyDict_SetItem(others, name, text) < 0)
                goto end;
            Py_CLEAR(name);
            Py_DECREF(text);
        }
        text = NULL;
    }
    for (int which = 0; which < 3; which++)
        if (found[which] == NULL && (found[which] = PyUnicode_FromStringAndSize("", 0)) == NULL)
            goto end;
    result = PyTuple_Pack(4, found[0], found[1], found[2], others);
end:
    Py_XDECREF(text);
    Py_XDECREF(name);
    Py_XDECREF(others);
    for (int which = 0; which < 3; which++)
        Py_XDECREF(found[which]);
    if (result == NULL) {
        PyErr_Clear();
        Py_RETURN_NONE;
    }
    return result;
}

/* A record, which refers to nothing that could refer to it. kafka/unreadable.py: Record */
typedef struct {
    PyObject_HEAD
    PyObject *topic, *partition, *offset, *timestamp, *key, *value;
    PyObject *headers; /* the bytes of its headers, of which there are `count` */
    Py_ssize_t count;
} Record;

static PyTypeObject *record_type;

/* Reads an integer; NULL if it does not end before `end`, or has more than 64 bits. */
static const char *
get_varint(const char *at, const char *end, int64_t *number)
{
    uint64_t value = 0;
    for (int shift = 0; at != NULL && at < end && shift < 64; shift += 7) {
        unsigned char byte = (unsigned char)*at++;
        if (shift == 63 && byte > 1)
            return NULL;
        value |= (uint64_t)(byte & 0x7F) << shift;
        if (byte < 0x80) {
            *number = (int64_t)(value >> 1) ^ -(int64_t)(value & 1);
            return at;
        }
    }
    return NULL;
}

/* Reads bytes behind their size, which is -1 for null; NULL if they do not end before `end`. */
static const char *
get_bytes(const char *at, const char *end, const char **bytes, Py_ssize_t *size)
{
    int64_t number;
    if ((at = get_varint(at, end, &number)) == NULL || number < -1 || number > end - at)
        return NULL;
    *bytes = at;
    *size = (Py_ssize_t)number;
    return number < 0 ? at : at + number;
}

static const char *
get_header(const char *at, const char *end, Header *made)
{
    at = get_bytes(at, end, &made->name, &made->name_size);
    return at == NULL || made->name_size < 0 ? NULL : get_bytes(at, end, &made->bytes, &made->size);
}

static PyObject *
bytes_or_none(const char *bytes, Py_ssize_t size)
{
    return size < 0 ? Py_NewRef(Py_None) : PyBytes_FromStringAndSize(bytes, size);
}

static int
is_utf8(const char *bytes, Py_ssize_t size)
{
    Py_ssize_t index = 0;
    while (index < size && (unsigned char)bytes[index] < 0x80)
        index++;
    if (index == size)
        return 1;
    PyObject *text = PyUnicode_DecodeUTF8(bytes, size, NULL);
    if (text == NULL)
        PyErr_Clear();
    Py_XDECREF(text);
    return text != NULL;
}

/* Reads one record up to `end`; NULL if that is not possible, with an exception only if there is no memory. */
static PyObject *
one_record(const char *at, const char *end, PyObject *topic, PyObject *partition, int64_t offset, int64_t time,
           int64_t log_time)
{
    const char *key, *value, *headers;
    Py_ssize_t key_size, value_size;
    int64_t later, further, count, own_time, own_offset;
    Header each = {NULL, NULL, 0, 0};
    if (at == end)
        return NULL;
    at = get_varint(get_varint(at + 1, end, &later), end, &further);
    if (at == NULL || (at = get_bytes(at, end, &key, &key_size)) == NULL ||
        (at = get_bytes(at, end, &value, &value_size)) == NULL || (at = get_varint(at, end, &count)) == NULL || count < 0)
        return NULL;
    headers = at;
    for (int64_t left = count; left > 0; left--)
        if ((at = get_header(at, end, &each)) == NULL || !is_utf8(each.name, each.name_size))
            return NULL;
    if (at != end || __builtin_add_overflow(offset, further, &own_offset) ||
        __builtin_add_overflow(time, later, &own_time))
        return NULL;
    Record *made = (Record *)PyType_GenericAlloc(record_type, 0);
    if (made == NULL)
        return NULL;
    made->topic = Py_NewRef(topic);
    made->partition = Py_NewRef(partition);
    made->offset = PyLong_FromLongLong(own_offset);
    made->timestamp = PyLong_FromLongLong(log_time >= 0 ? log_time : own_time);
    made->key = bytes_or_none(key, key_size);
    made->value = bytes_or_none(value, value_size);
    made->headers = PyBytes_FromStringAndSize(headers, end - headers);
    made->count = (Py_ssize_t)count;
    if (made->offset == NULL || made->timestamp == NULL || made->key == NULL || made->value == NULL ||
        made->headers == NULL)
        Py_CLEAR(made);
    return (PyObject *)made;
}

/* kafka/unreadable.py: read */
static PyObject *
py_read(PyObject *module, PyObject *arguments)
{
    PyObject *data, *topic, *partition, *record = NULL;
    Py_ssize_t at, end, most;
    long long offset, time, log_time;
    int64_t size;
    if (!PyArg_ParseTuple(arguments, "SnnnOOLLL", &data, &at, &end, &most, &topic, &partition, &offset, &time, &log_time))
        return NULL;
    if (at < 0 || at > end || end > PyBytes_Size(data))
        return PyErr_Format(PyExc_ValueError, "there are no such bytes");
    PyObject *found = PyList_New(0);
    if (found == NULL)
        return NULL;
    const char *begin = PyBytes_AsString(data), *next, *here = begin + at;
    while (most-- > 0 && (next = get_varint(here, begin + end, &size)) != NULL && size >= 0 && size <= begin + end - next &&
           (record = one_record(next, next + size, topic, partition, offset, time, log_time)) != NULL) {
        int failed = PyList_Append(found, record);
        Py_CLEAR(record);
        if (failed)
            break;
        here = next + size;
    }
    PyObject *result = PyErr_Occurred() ? NULL : Py_BuildValue("On", found, (Py_ssize_t)(here - begin));
    Py_DECREF(found);
    return result;
}

/* fields(): those of its headers, see fields_of */
static PyObject *
record_fields(Record *self, PyObject *unused)
{
    Header few[FEW], *headers = self->count > FEW ? PyMem_Malloc(self->count * sizeof(Header)) : few;
    if (headers == NULL)
        return PyErr_NoMemory();
    const char *at = PyBytes_AsString(self->headers), *end = at + PyBytes_Size(self->headers);
    for (Py_ssize_t index = 0; index < self->count; index++)
        at = get_header(at, end, &headers[index]);
    PyObject *found = fields_of(headers, self->count);
    if (headers != few)
        PyMem_Free(headers);
    return found;
}

static PyObject *
record_headers(Record *self, void *unused)
{
    Header each = {NULL, NULL, 0, 0};
    PyObject *found = PyList_New(0);
    const char *at = PyBytes_AsString(self->headers), *end = at + PyBytes_Size(self->headers);
    for (Py_ssize_t left = self->count; left > 0 && found != NULL; left--) {
        at = get_header(at, end, &each);
        PyObject *value = bytes_or_none(each.bytes, each.size);
        /* Not Py_BuildValue("s#O"): on 3.11 and 3.12 it fails in a module that was built with 3.13. */
        PyObject *name = value == NULL ? NULL : PyUnicode_FromStringAndSize(each.name, each.name_size);
        PyObject *pair = name == NULL ? NULL : PyTuple_Pack(2, name, value);
        Py_XDECREF(name);
        if (pair == NULL || PyList_Append(found, pair) < 0)
            Py_CLEAR(found);
        Py_XDECREF(pair);
        Py_XDECREF(value);
    }
    return found;
}

static void
record_dealloc(Record *self)
{
    PyTypeObject *type = Py_TYPE((PyObject *)self);
    Py_XDECREF(self->topic);
    Py_XDECREF(self->partition);
    Py_XDECREF(self->offset);
    Py_XDECREF(self->timestamp);
    Py_XDECREF(self->key);
    Py_XDECREF(self->value);
    Py_XDECREF(self->headers);
    ((freefunc)PyType_GetSlot(type, Py_tp_free))(self);
    Py_DECREF(type);
}

static PyMemberDef record_members[] = {
    {"topic", T_OBJECT_EX, offsetof(Record, topic), READONLY, NULL},
    {"partition", T_OBJECT_EX, offsetof(Record, partition), READONLY, NULL},
    {"offset", T_OBJECT_EX, offsetof(Record, offset), READONLY, NULL},
    {"timestamp", T_OBJECT_EX, offsetof(Record, timestamp), READONLY, NULL},
    {"key", T_OBJECT_EX, offsetof(Record, key), READONLY, NULL},
    {"value", T_OBJECT_EX, offsetof(Record, value), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyGetSetDef record_getset[] = {
    {"headers", (getter)record_headers, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMethodDef record_methods[] = {
    {"fields", (PyCFunction)record_fields, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot record_slots[] = {
    {Py_tp_members, record_members},
    {Py_tp_getset, record_getset},
    {Py_tp_methods, record_methods},
    {Py_tp_dealloc, record_dealloc},
    {0, NULL},
};

static PyType_Spec record_spec = {
    "evbus_like.speedups._built.Record", sizeof(Record), 0,
    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE, record_slots,
};

/* ---- the module */

static int
execute(PyObject *module)
{
    event_type = PyType_FromModuleAndSpec(module, &event_spec, NULL);
    record_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &record_spec, NULL);
    empty = PyUnicode_FromStringAndSize("", 0);
    zero = PyLong_FromLong(0);
    never = PyFloat_FromDouble(0.0);
    if (!empty || !zero || !never || PyModule_AddObjectRef(module, "EventFields", event_type) < 0 ||
        PyModule_AddObjectRef(module, "Record", (PyObject *)record_type) < 0)
        return -1;
    if (!HAS_CRC)
        return 0;
    PyObject *type = PyType_FromModuleAndSpec(module, &batch_spec, NULL);
    int failed = type == NULL || PyModule_AddObjectRef(module, "RecordBatch", type) < 0;
    Py_XDECREF(type);
    return failed ? -1 : 0;
}

static PyMethodDef functions[] = {
    {"finite", py_finite, METH_O, NULL},
    {"untrack", py_untrack, METH_O, NULL},
    {"has_odd_number", py_has_odd_number, METH_O, NULL},
    {"read", py_read, METH_VARARGS, NULL},
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
