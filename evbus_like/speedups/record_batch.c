/* A record batch of Kafka, version 2 (https://kafka.apache.org/documentation/#recordbatch), without compression.
   The twin is aiokafka's DefaultRecordBatchBuilder. */

#include "built.h"
#include <limits.h>

/* CRC-32C (RFC 3720, appendix B.4), which Kafka's record batches have */

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

int
add_record_batch(PyObject *module)
{
    if (!HAS_CRC)
        return 0;
    PyObject *type = PyType_FromModuleAndSpec(module, &batch_spec, NULL);
    int failed = type == NULL || PyModule_AddObjectRef(module, "RecordBatch", type) < 0;
    Py_XDECREF(type);
    return failed ? -1 : 0;
}
