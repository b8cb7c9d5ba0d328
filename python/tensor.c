/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Numbers on their way out of a model, without a copy: a Tensor is a view of one output of a
 * result, which lives as long as any view of it. It is handed out as an array of numpy on the same
 * memory; where there is no numpy, or no such type of number in it, as it is.
 */
#include "buffer.h"
#include "core.h"
#include "dlpack.h"

#include <stdint.h>

_Static_assert(sizeof(Py_ssize_t) == sizeof(int64_t), "a shape is a shape");

struct format_row {
    rp_dtype dtype;
    const char *format;
};

/* NULL: the struct module has no letter for it, and bytes are all that can be shown. */
static const char *format_of_dtype(rp_dtype dtype) {
    const struct format_row rows[] = {
        {RP_DTYPE_FLOAT32, "f"},    {RP_DTYPE_FLOAT64, "d"},     {RP_DTYPE_FLOAT16, "e"},
        {RP_DTYPE_INT8, "b"},       {RP_DTYPE_INT16, "h"},       {RP_DTYPE_INT32, "i"},
        {RP_DTYPE_INT64, "q"},      {RP_DTYPE_UINT8, "B"},       {RP_DTYPE_UINT16, "H"},
        {RP_DTYPE_UINT32, "I"},     {RP_DTYPE_UINT64, "Q"},      {RP_DTYPE_BOOL, "?"},
        {RP_DTYPE_COMPLEX64, "Zf"}, {RP_DTYPE_COMPLEX128, "Zd"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (rp_dtype_equals(rows[i].dtype, dtype)) return rows[i].format;
    }
    return NULL;
}

/* ---- outputs -------------------------------------------------------------------------------- */

static PyTypeObject *tensor_type;

typedef struct tensor_object {
    PyObject_HEAD PyObject *owner; /* what rp_python_result_take() made                      */
    const rp_tensor *tensor;       /* compact                                                */
    uint64_t bytes;
    Py_ssize_t itemsize;
    Py_ssize_t strides[RP_PYTHON_BUFFER_DIMENSIONS_MAX]; /* in bytes */
} tensor_object;

static const char result_name[] = "resource_pool.result";

static void close_result(PyObject *capsule) {
    rp_result_close(PyCapsule_GetPointer(capsule, result_name));
}

PyObject *rp_python_result_take(rp_result *result) {
    PyObject *owner = PyCapsule_New(result, result_name, close_result);
    if (!owner) rp_result_close(result);
    return owner;
}

static PyObject *new_tensor(PyObject *owner, const rp_tensor *tensor) {
    rp_error err = RP_ERROR_INIT;
    uint64_t bytes = 0;
    if (rp_tensor_bytes(tensor, &bytes, &err) != RP_OK) return rp_python_raise(&err);
    if (tensor->ndim > RP_PYTHON_BUFFER_DIMENSIONS_MAX || !rp_tensor_is_contiguous(tensor)) {
        rp_fail(&err, RP_ERR_UNSUPPORTED, "an output of %d dimensions, or with gaps", tensor->ndim);
        return rp_python_raise(&err);
    }
    tensor_object *self = PyObject_New(tensor_object, tensor_type);
    if (!self) return NULL;
    self->owner = Py_NewRef(owner);
    self->tensor = tensor;
    self->bytes = bytes;
    self->itemsize = (Py_ssize_t)tensor->dtype.bits / 8;
    Py_ssize_t stride = self->itemsize;
    for (int i = tensor->ndim - 1; i >= 0; i--) {
        self->strides[i] = stride;
        if (tensor->shape[i] > 0) stride *= (Py_ssize_t)tensor->shape[i];
    }
    return (PyObject *)self;
}

static void tensor_dealloc(PyObject *object) {
    PyTypeObject *type = Py_TYPE(object);
    Py_DECREF(((tensor_object *)object)->owner);
    PyObject_Free(object);
    Py_DECREF((PyObject *)type);
}

PyObject *rp_python_output(PyObject *owner, const rp_tensor *tensor) {
    PyObject *made = new_tensor(owner, tensor);
    if (!made || !format_of_dtype(tensor->dtype)) return made;
    PyObject *function = rp_python_asarray();
    if (!function) {
        if (PyErr_Occurred()) Py_CLEAR(made);
        return made;
    }
    PyObject *array = PyObject_CallFunctionObjArgs(function, made, NULL);
    Py_DECREF(made);
    return array;
}

/* Whether there is one order of elements only, whichever dimension goes first. */
static bool is_line(const rp_tensor *tensor) {
    int count = 0;
    for (int i = 0; i < tensor->ndim; i++) {
        if (tensor->shape[i] == 0) return true;
        count += tensor->shape[i] > 1;
    }
    return count <= 1;
}

/* What asks for no more than bytes gets bytes. */
static int get_buffer(PyObject *object, rp_python_buffer *view, int flags) {
    static char nothing[1];
    tensor_object *self = (tensor_object *)object;
    const rp_tensor *tensor = self->tensor;
    const char *format = format_of_dtype(tensor->dtype);
    char *data = rp_tensor_data(tensor);
    bool has_shape = (flags & RP_PYTHON_BUFFER_ND) != 0;
    bool is_fortran = (flags & RP_PYTHON_BUFFER_FORTRAN) == RP_PYTHON_BUFFER_FORTRAN;
    view->obj = NULL;
    if (is_fortran && !is_line(tensor)) {
        PyErr_SetString(PyExc_BufferError, "the last dimension is the one that lies compact");
        return -1;
    }
    if (!format || self->bytes > PTRDIFF_MAX) {
        const char *name = rp_dtype_name(tensor->dtype);
        PyErr_Format(PyExc_BufferError, "there are no buffers of %s: DLPack has it",
                     name ? name : "such elements");
        return -1;
    }
    *view = (rp_python_buffer){
        .buf = data ? data : nothing,
        .obj = Py_NewRef(object),
        .len = (Py_ssize_t)self->bytes,
        .itemsize = self->itemsize,
        .ndim = has_shape ? tensor->ndim : 1,
        .format = flags & RP_PYTHON_BUFFER_FORMAT ? (char *)(uintptr_t)format : NULL,
        .shape = has_shape ? (Py_ssize_t *)tensor->shape : NULL,
        .strides =
            (flags & RP_PYTHON_BUFFER_STRIDES) == RP_PYTHON_BUFFER_STRIDES ? self->strides : NULL,
    };
    return 0;
}

/* ---- DLPack, out ----------------------------------------------------------------------------- */

/* Whoever has the memory may let go on any thread. */
static void let_go(void *context, void *managed) {
    if (!rp_python_is_running()) return;
    PyGILState_STATE state = PyGILState_Ensure();
    Py_DECREF((PyObject *)context);
    PyMem_Free(managed);
    PyGILState_Release(state);
}

static void delete_managed(struct rp_python_managed *managed) {
    let_go(managed->context, managed);
}

static void delete_versioned(struct rp_python_managed_versioned *managed) {
    let_go(managed->context, managed);
}

/* Whoever took the tensor has given the capsule another name. */
static void free_capsule(PyObject *capsule) {
    if (PyCapsule_IsValid(capsule, RP_PYTHON_DLPACK_NAME)) {
        struct rp_python_managed *managed = PyCapsule_GetPointer(capsule, RP_PYTHON_DLPACK_NAME);
        managed->deleter(managed);
    } else if (PyCapsule_IsValid(capsule, RP_PYTHON_DLPACK_NAME_VERSIONED)) {
        struct rp_python_managed_versioned *managed =
            PyCapsule_GetPointer(capsule, RP_PYTHON_DLPACK_NAME_VERSIONED);
        managed->deleter(managed);
    }
}

/* In elements, behind the structure: there are readers that want them of compact tensors, too. */
static int64_t *fill_strides(PyObject *self, int64_t *strides) {
    const tensor_object *tensor = (tensor_object *)self;
    for (int i = 0; i < tensor->tensor->ndim; i++) {
        strides[i] = tensor->strides[i] / tensor->itemsize;
    }
    return strides;
}

/* A structure with room for strides behind it; NULL raised. */
static void *allocate(PyObject *self, size_t bytes) {
    const rp_tensor *tensor = ((tensor_object *)self)->tensor;
    void *managed = PyMem_Calloc(1, bytes + (size_t)tensor->ndim * sizeof(int64_t));
    if (!managed) PyErr_NoMemory();
    return managed;
}

static PyObject *export_plain(PyObject *self) {
    struct rp_python_managed *managed = allocate(self, sizeof *managed);
    if (!managed) return NULL;
    managed->tensor = *((tensor_object *)self)->tensor;
    managed->tensor.strides = fill_strides(self, (int64_t *)(managed + 1));
    managed->context = Py_NewRef(self);
    managed->deleter = delete_managed;
    PyObject *capsule = PyCapsule_New(managed, RP_PYTHON_DLPACK_NAME, free_capsule);
    if (!capsule) delete_managed(managed);
    return capsule;
}

static PyObject *export_versioned(PyObject *self) {
    struct rp_python_managed_versioned *managed = allocate(self, sizeof *managed);
    if (!managed) return NULL;
    managed->major = RP_PYTHON_DLPACK_MAJOR;
    managed->tensor = *((tensor_object *)self)->tensor;
    managed->tensor.strides = fill_strides(self, (int64_t *)(managed + 1));
    managed->context = Py_NewRef(self);
    managed->deleter = delete_versioned;
    PyObject *capsule = PyCapsule_New(managed, RP_PYTHON_DLPACK_NAME_VERSIONED, free_capsule);
    if (!capsule) delete_versioned(managed);
    return capsule;
}

enum { STREAM, MAX_VERSION, DL_DEVICE, COPY, DLPACK_COUNT };
static const char *const dlpack_names[] = {"stream", "max_version", "dl_device", "copy", NULL};
static const struct rp_python_signature dlpack_signature = {"__dlpack__", dlpack_names, 0, 0};

/* A pair of small numbers, or what it was. 0, or -1 raised. */
static int read_pair(PyObject *value, int *pair) {
    if (!value || value == Py_None) return 0;
    if (PyTuple_Check(value)) return PyArg_ParseTuple(value, "ii", &pair[0], &pair[1]) ? 0 : -1;
    PyErr_SetString(PyExc_TypeError, "__dlpack__() wants pairs of numbers");
    return -1;
}

static PyObject *tensor_dlpack(PyObject *self, PyObject *const *arguments, Py_ssize_t count,
                               PyObject *keywords) {
    PyObject *values[DLPACK_COUNT];
    int device[2] = {RP_TENSOR_DEVICE_CPU, 0};
    int version[2] = {0, 0};
    if (rp_python_arguments(&dlpack_signature, arguments, count, keywords, values) < 0) return NULL;
    if (read_pair(values[DL_DEVICE], device) < 0) return NULL;
    if (read_pair(values[MAX_VERSION], version) < 0) return NULL;
    bool is_copy = values[COPY] && values[COPY] == Py_True;
    if (device[0] != RP_TENSOR_DEVICE_CPU || is_copy) {
        PyErr_SetString(PyExc_BufferError, "the memory is the processor's, and is not copied");
        return NULL;
    }
    return version[0] >= 1 ? export_versioned(self) : export_plain(self);
}

static PyObject *tensor_dlpack_device(PyObject *self, PyObject *unused) {
    (void)unused;
    const rp_tensor *tensor = ((tensor_object *)self)->tensor;
    return Py_BuildValue("(ii)", (int)tensor->device.type, (int)tensor->device.id);
}

/* ---- the type ------------------------------------------------------------------------------- */

static PyObject *tensor_shape(PyObject *self, void *unused) {
    const rp_tensor *tensor = ((tensor_object *)self)->tensor;
    (void)unused;
    PyObject *shape = PyTuple_New(tensor->ndim);
    for (int i = 0; shape && i < tensor->ndim; i++) {
        PyObject *size = PyLong_FromLongLong(tensor->shape[i]);
        if (!size || PyTuple_SetItem(shape, i, size) < 0) Py_CLEAR(shape);
    }
    return shape;
}

static PyObject *tensor_dtype(PyObject *self, void *unused) {
    (void)unused;
    return rp_python_text(rp_dtype_name(((tensor_object *)self)->tensor->dtype));
}

static PyObject *tensor_nbytes(PyObject *self, void *unused) {
    (void)unused;
    return PyLong_FromUnsignedLongLong(((tensor_object *)self)->bytes);
}

static PyObject *tensor_repr(PyObject *self) {
    PyObject *shape = tensor_shape(self, NULL);
    const char *name = rp_dtype_name(((tensor_object *)self)->tensor->dtype);
    PyObject *text = shape ? PyUnicode_FromFormat("<resource_pool.Tensor %R of %s>", shape,
                                                  name ? name : "unknown elements")
                           : NULL;
    Py_XDECREF(shape);
    return text;
}

static PyMethodDef tensor_methods[] = {
    {"__dlpack__", (PyCFunction)(void (*)(void))tensor_dlpack, METH_FASTCALL | METH_KEYWORDS,
     "For numpy.from_dlpack(), torch.from_dlpack() and the like. No copy."},
    {"__dlpack_device__", tensor_dlpack_device, METH_NOARGS, "(1, 0): ordinary memory."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef tensor_attributes[] = {
    {"shape", tensor_shape, NULL, "Sizes, a tuple.", NULL},
    {"dtype", tensor_dtype, NULL, "'float32', 'bfloat16', ...", NULL},
    {"nbytes", tensor_nbytes, NULL, "Bytes of all elements.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static char tensor_doc[] =
    "An output of a model: what has it reads the memory that the run left (memoryview(),\n"
    "DLPack). Handed out where numpy is not installed, or has no such type of number.";

static PyType_Slot tensor_slots[] = {
    {Py_tp_dealloc, tensor_dealloc},
    {Py_tp_methods, tensor_methods},
    {Py_tp_getset, tensor_attributes},
    {Py_tp_repr, tensor_repr},
    {RP_PYTHON_SLOT_GET_BUFFER, get_buffer},
    {Py_tp_doc, tensor_doc},
    {0, NULL},
};

static PyType_Spec tensor_spec = {
    .name = "resource_pool.Tensor",
    .basicsize = sizeof(tensor_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = tensor_slots,
};

/* Made by a run only. */
int rp_python_add_tensor(PyObject *module) {
    tensor_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &tensor_spec, NULL);
    if (!tensor_type) return -1;
    return PyModule_AddObjectRef(module, "Tensor", (PyObject *)tensor_type);
}
