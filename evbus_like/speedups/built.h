/* What the files of these functions share. Each function does what its twin in Python does, which is the specification;
   see __init__.py.

   The stable interface of Python 3.11, so that one build serves all later versions. No function runs Python code while
   it holds a borrowed reference. */

#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>
#include <stdint.h>
#include <string.h>
#include <structmember.h>

/* An event, and its fields. */
enum { BODY, CONTENT_TYPE, HEADERS, ID, KEY, PACKED, PROFILE, QUIET, RECEIPT, ROUTING_KEY, SEQ, SIZE, TIMESTAMP, FIELDS };

typedef struct {
    PyObject_HEAD
    PyObject *held[FIELDS];
} Event;

extern PyObject *event_type;

/* A header of a record of Kafka. `size` is below 0 where it has no value. */
typedef struct {
    const char *name, *bytes;
    Py_ssize_t name_size, size;
} Header;

#define FEW 16 /* headers of a record that need no memory of their own */

/* Each adds a file's functions and types to the module; below 0 after an error. */
int add_values(PyObject *module);
int add_event(PyObject *module);
int add_record_batch(PyObject *module);
int add_received_record(PyObject *module);
