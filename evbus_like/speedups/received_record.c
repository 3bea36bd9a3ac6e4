/* Records of Kafka as they are received. Twins: kafka/unreadable.py, and `fields` of kafka/records.py */

#include "built.h"

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

static PyMethodDef functions[] = {
    {"read", py_read, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

int
add_received_record(PyObject *module)
{
    record_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &record_spec, NULL);
    if (PyModule_AddObjectRef(module, "Record", (PyObject *)record_type) < 0)
        return -1;
    return PyModule_AddFunctions(module, functions);
}
