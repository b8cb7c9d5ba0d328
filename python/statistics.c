/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the pool holds, in the shapes that callers of the guide read. A figure that is not known is
 * left out: their loops do arithmetic on what is there.
 */
#include "core.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* ---- values ----------------------------------------------------------------------------- */

/* NULL, and nothing raised: not known. */
static PyObject *u64_of(uint64_t value) {
    return value == RP_UNKNOWN_U64 ? NULL : PyLong_FromUnsignedLongLong(value);
}

static int put_u64(PyObject *dict, const char *key, uint64_t value) {
    return rp_python_put(dict, key, u64_of(value));
}

static int put_number(PyObject *dict, const char *key, double value) {
    return rp_python_put(dict, key, PyFloat_FromDouble(value));
}

static int put_mb(PyObject *dict, const char *key, uint64_t bytes) {
    return bytes == RP_UNKNOWN_U64 ? 0 : put_number(dict, key, (double)bytes / (1 << 20));
}

static int put_text(PyObject *dict, const char *key, const char *text) {
    return text ? rp_python_put(dict, key, rp_python_text(text)) : 0;
}

static int put_bool(PyObject *dict, const char *key, bool value) {
    return rp_python_put(dict, key, PyBool_FromLong(value));
}

static char *write_digits(char *at, int number, int count) {
    for (int i = count; i-- > 0; number /= 10) {
        at[i] = (char)('0' + number % 10);
    }
    return at + count;
}

/* "2026-01-02T03:04:05.678901+00:00", which datetime.fromisoformat() of every Python reads. Two for
 * each object: printf() and its kin would be a quarter of get_stats(). NULL, and nothing raised:
 * not known. */
static PyObject *time_of(int64_t wall_ns) {
    char text[] = "yyyy-mm-ddThh:mm:ss.uuuuuu+00:00";
    struct tm parts;
    time_t seconds = (time_t)(wall_ns / 1000000000);
    if (wall_ns <= 0 || !gmtime_r(&seconds, &parts)) return NULL;
    char *at = write_digits(text, parts.tm_year + 1900, 4) + 1;
    at = write_digits(at, parts.tm_mon + 1, 2) + 1;
    at = write_digits(at, parts.tm_mday, 2) + 1;
    at = write_digits(at, parts.tm_hour, 2) + 1;
    at = write_digits(at, parts.tm_min, 2) + 1;
    at = write_digits(at, parts.tm_sec, 2) + 1;
    write_digits(at, (int)(wall_ns % 1000000000 / 1000), 6);
    return PyUnicode_FromStringAndSize(text, sizeof text - 1);
}

static int put_time(PyObject *dict, const char *key, int64_t wall_ns) {
    return rp_python_put(dict, key, time_of(wall_ns));
}

static PyObject *texts(const char *const *from, size_t count) {
    PyObject *list = PyList_New(0);
    for (size_t i = 0; list && i < count; i++) {
        PyObject *text = rp_python_text(from[i]);
        if (!text || PyList_Append(list, text) < 0) Py_CLEAR(list);
        Py_XDECREF(text);
    }
    return list;
}

/* ---- what belongs together: the library's entries and Python's objects -------------------- */

/* One object that requests find. */
struct row {
    PyObject *object; /* a share; NULL: an engine's model, of which there is one when asked for */
    PyObject *key;    /* the library's, a share of a str                                        */
    PyObject *plain_key; /* likewise                                                            */
    PyObject *name;      /* one of the two: the key that callers of the guide read              */
    rp_kind kind;
    bool is_plain;
    uint64_t shared_bytes;      /* beside the entry's own; RP_UNKNOWN_U64: it is not shared       */
    bool is_attached;           /* another process made it                                        */
    const rp_entry_info *entry; /* NULL: requests do not find it any more             */
};

/*
 * All of a pool at one moment, the oldest first. Rows have shares of what they name: whatever makes
 * a Python object may collect garbage, whose end may be the end of an object of the pool.
 */
struct listing {
    rp_statistics *statistics;
    uint64_t changes; /* of the pool, when they were taken */
    struct row *rows;
    size_t count;
};

static void listing_fini(struct listing *listing) {
    for (size_t i = 0; i < listing->count; i++) {
        Py_XDECREF(listing->rows[i].object);
        Py_XDECREF(listing->rows[i].key);
        Py_XDECREF(listing->rows[i].plain_key);
    }
    PyMem_Free(listing->rows);
    rp_statistics_destroy(listing->statistics);
}

/* Copies the list of the pool, whose newest is the first, with room for `more` rows. Makes no
 * Python object. */
static int copy_rows(const rp_python_pool *pool, struct listing *listing, size_t more) {
    size_t count = 0;
    for (const struct rp_python_held *at = pool->first; at; at = at->next) {
        count++;
    }
    listing->rows = PyMem_Calloc(count + more + 1, sizeof *listing->rows);
    if (!listing->rows) return -1;
    listing->count = count;
    for (const struct rp_python_held *at = pool->first; at; at = at->next) {
        listing->rows[--count] = (struct row){
            .object = Py_NewRef(at->object),
            .key = Py_NewRef(at->key_text),
            .plain_key = Py_NewRef(at->plain_text),
            .kind = at->kind,
            .is_plain = at->is_plain,
            .shared_bytes = at->shared_bytes,
            .is_attached = at->is_attached,
        };
    }
    return 0;
}

/* {the library's key: where its entry stands}, of what requests still find. */
static PyObject *index_entries(const rp_statistics *statistics) {
    PyObject *index = PyDict_New();
    for (size_t i = 0; index && i < rp_statistics_entry_count(statistics); i++) {
        const rp_entry_info *entry = rp_statistics_entry(statistics, i);
        if (entry->is_draining) continue;
        if (rp_python_put(index, entry->key, PyLong_FromSize_t(i)) < 0) Py_CLEAR(index);
    }
    return index;
}

/* Whether both lists have the same keys in the same order, as they mostly do: then all is matched.
 */
static bool match_in_order(struct listing *listing) {
    const rp_statistics *statistics = listing->statistics;
    bool is_alike = rp_statistics_entry_count(statistics) == listing->count;
    for (size_t i = 0; is_alike && i < listing->count; i++) {
        const rp_entry_info *entry = rp_statistics_entry(statistics, i);
        const char *key = PyUnicode_AsUTF8AndSize(listing->rows[i].key, NULL);
        is_alike = key && !entry->is_draining && strcmp(entry->key, key) == 0;
        listing->rows[i].entry = entry;
    }
    for (size_t i = 0; !is_alike && i < listing->count; i++) {
        listing->rows[i].entry = NULL;
    }
    return is_alike;
}

/* After a clear() two of a key may be listed: the newer one is what is found now. */
static int match_entries(struct listing *listing) {
    if (match_in_order(listing)) return 0;
    PyErr_Clear();
    PyObject *index = index_entries(listing->statistics);
    int rc = index ? 0 : -1;
    for (size_t i = listing->count; rc == 0 && i-- > 0;) {
        PyObject *at = PyDict_GetItemWithError(index, listing->rows[i].key);
        if (!at) continue;
        listing->rows[i].entry = rp_statistics_entry(listing->statistics, PyLong_AsSize_t(at));
        rc = PyDict_DelItem(index, listing->rows[i].key);
    }
    Py_XDECREF(index);
    return rc;
}

/* A key without what follows the name. */
static PyObject *plain_of(const rp_entry_info *entry) {
    return PyUnicode_FromFormat("%s%s%s", entry->type, entry->name[0] ? ":" : "", entry->name);
}

static int add_engine_row(const rp_python_pool *pool, struct listing *listing,
                          const rp_entry_info *entry) {
    struct row *row = &listing->rows[listing->count++];
    row->key = rp_python_text(entry->key);
    row->plain_key = plain_of(entry);
    row->kind = entry->kind;
    row->shared_bytes = RP_UNKNOWN_U64; /* an engine's, whose bytes are the entry's */
    row->is_plain = rp_python_model_is_plain(pool, entry->key);
    row->entry = entry;
    return row->key && row->plain_key ? 0 : -1;
}

/* Models that engines loaded: what the pool has and Python did not make. */
static int add_engine_rows(rp_python_pool *pool, struct listing *listing) {
    PyObject *seen = PySet_New(NULL);
    size_t entry_count = rp_statistics_entry_count(listing->statistics);
    int rc = seen ? 0 : -1;
    for (size_t i = 0; rc == 0 && i < listing->count; i++) {
        if (!listing->rows[i].entry) continue;
        rc = PySet_Add(seen, listing->rows[i].key);
    }
    rp_python_model_prune(pool, listing->statistics);
    for (size_t i = 0; rc == 0 && i < entry_count; i++) {
        const rp_entry_info *entry = rp_statistics_entry(listing->statistics, i);
        if (entry->is_draining || !entry->placement.engine) continue;
        PyObject *key = rp_python_text(entry->key);
        int has = key ? PySet_Contains(seen, key) : -1;
        Py_XDECREF(key);
        rc = has == 0 ? add_engine_row(pool, listing, entry) : has < 0 ? -1 : 0;
    }
    Py_XDECREF(seen);
    if (rc < 0 && !PyErr_Occurred()) PyErr_NoMemory();
    return rc;
}

/* The plain key is the oldest's that a request without a place of its own led to. */
static int name_rows(struct listing *listing) {
    PyObject *taken = PyDict_New();
    int rc = taken ? 0 : -1;
    for (size_t i = 0; rc == 0 && i < listing->count; i++) {
        struct row *row = &listing->rows[i];
        bool is_free = !PyDict_GetItemWithError(taken, row->plain_key);
        row->name = row->is_plain && is_free ? row->plain_key : row->key;
        if (!row->entry) continue;
        rc = PyDict_SetItem(taken, row->name, Py_None);
    }
    Py_XDECREF(taken);
    return rc;
}

/* Holds that nobody needs go first, so that the leases in it are somebody's. 0, or -1 raised. */
static int listing_init(struct listing *listing, rp_python_pool *pool) {
    rp_error err = RP_ERROR_INIT;
    *listing = (struct listing){.statistics = NULL};
    if (!rp_python_pool_is_open(pool)) return -1;
    rp_python_sweep(pool);
    PyThreadState *thread = rp_python_pool_enter(pool);
    rp_status status = rp_pool_statistics(pool->pool, &listing->statistics, &err);
    rp_python_pool_leave(pool, thread);
    listing->changes = pool->changes;
    if (status != RP_OK) {
        rp_python_raise(&err);
        return -1;
    }
    int rc = copy_rows(pool, listing, rp_statistics_entry_count(listing->statistics));
    if (rc < 0) PyErr_NoMemory();
    if (rc == 0 && match_entries(listing) == 0 && add_engine_rows(pool, listing) == 0 &&
        name_rows(listing) == 0) {
        return 0;
    }
    listing_fini(listing);
    return -1;
}

static int64_t taken_ns(const struct listing *listing) {
    return rp_statistics_totals(listing->statistics)->taken_wall_ns;
}

/* Puts something of a row into a dict. 0, or -1 raised. */
typedef int (*visitor)(PyObject *dict, const struct row *row, int64_t taken_wall_ns);

static int visit(const struct listing *listing, int kind, visitor each, PyObject *dict) {
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < listing->count; i++) {
        const struct row *row = &listing->rows[i];
        if (!row->entry || (kind != 0 && kind != (int)row->kind)) continue;
        rc = each(dict, row, taken_ns(listing));
    }
    return rc;
}

/* ---- one entry -------------------------------------------------------------------------- */

/* The coarse clock behind it may be a tick behind. */
static int64_t used_ns_of(const rp_entry_info *entry, int64_t taken_wall_ns) {
    int64_t used_ns = taken_wall_ns - (int64_t)(entry->idle_ms * 1e6);
    return used_ns > entry->created_wall_ns ? used_ns : entry->created_wall_ns;
}

/* The names of what each object has: made once, since there may be thousands of objects. */
enum field {
    MEMORY,
    SHARED,
    PRIVATE,
    METHOD,
    DEVICE,
    PRECISION,
    HITS,
    CREATED,
    ACCESSED,
    LOAD_MS,
    FIELD_COUNT
};

static const char *const field_names[FIELD_COUNT] = {
    "memory_usage",  "shared_bytes", "private_bytes", "memory_estimation_method",
    "device",        "precision",    "hits",          "created",
    "last_accessed", "load_ms",
};

static int put_field(PyObject *dict, enum field field, PyObject *value) {
    static PyObject *names[FIELD_COUNT];
    if (!value) return PyErr_Occurred() ? -1 : 0;
    if (!names[field]) names[field] = PyUnicode_InternFromString(field_names[field]);
    int rc = names[field] ? PyDict_SetItem(dict, names[field], value) : -1;
    Py_DECREF(value);
    return rc;
}

/* What the object before had as well is the same str. */
static PyObject *word_of(enum field field, const char *text) {
    static PyObject *latest[FIELD_COUNT];
    if (!text) return NULL;
    const char *word = latest[field] ? PyUnicode_AsUTF8AndSize(latest[field], NULL) : NULL;
    if (!word || strcmp(word, text) != 0) {
        PyObject *before = latest[field];
        latest[field] = rp_python_text(text);
        Py_XDECREF(before);
    }
    return Py_XNewRef(latest[field]);
}

/* The pool of this process answers for its own bytes only; all of it is what a reader asks for. */
static int put_memory(PyObject *dict, const struct row *row) {
    uint64_t own = row->entry->memory_bytes;
    bool is_shared = row->shared_bytes != RP_UNKNOWN_U64;
    if (!is_shared || own == RP_UNKNOWN_U64) return put_field(dict, MEMORY, u64_of(own));
    if (put_field(dict, MEMORY, u64_of(own + row->shared_bytes)) < 0) return -1;
    if (put_field(dict, SHARED, u64_of(row->shared_bytes)) < 0) return -1;
    return put_field(dict, PRIVATE, u64_of(own));
}

static int put_entry(PyObject *dict, const struct row *row, int64_t taken_wall_ns) {
    const rp_entry_info *entry = row->entry;
    if (put_memory(dict, row) < 0) return -1;
    if (row->is_attached && rp_python_put(dict, "attached", PyBool_FromLong(1)) < 0) return -1;
    if (put_field(dict, METHOD, word_of(METHOD, entry->memory_method)) < 0) return -1;
    if (put_field(dict, DEVICE, word_of(DEVICE, entry->placement.device)) < 0) return -1;
    if (put_field(dict, PRECISION, word_of(PRECISION, entry->placement.precision)) < 0) return -1;
    if (put_field(dict, HITS, u64_of(entry->hits)) < 0) return -1;
    if (put_field(dict, CREATED, time_of(entry->created_wall_ns)) < 0) return -1;
    if (put_field(dict, ACCESSED, time_of(used_ns_of(entry, taken_wall_ns))) < 0) return -1;
    return put_field(dict, LOAD_MS, PyFloat_FromDouble(entry->load_ms));
}

/* Under the row's name. Takes the value, as rp_python_put() does. */
static int put_row(PyObject *dict, const struct row *row, PyObject *value) {
    if (!value) return PyErr_Occurred() ? -1 : 0;
    int rc = PyDict_SetItem(dict, row->name, value);
    Py_DECREF(value);
    return rc;
}

static int visit_entry(PyObject *dict, const struct row *row, int64_t taken_wall_ns) {
    PyObject *inner = PyDict_New();
    if (inner && put_entry(inner, row, taken_wall_ns) < 0) Py_CLEAR(inner);
    return put_row(dict, row, inner);
}

static int visit_age(PyObject *dict, const struct row *row, int64_t taken_wall_ns) {
    (void)taken_wall_ns;
    return put_row(dict, row, PyFloat_FromDouble(row->entry->age_ms / 1e3));
}

static int visit_created(PyObject *dict, const struct row *row, int64_t taken_wall_ns) {
    (void)taken_wall_ns;
    return put_row(dict, row, time_of(row->entry->created_wall_ns));
}

static int visit_used(PyObject *dict, const struct row *row, int64_t taken_wall_ns) {
    return put_row(dict, row, time_of(used_ns_of(row->entry, taken_wall_ns)));
}

static int put_each(PyObject *dict, const char *key, const struct listing *listing, int kind,
                    visitor each) {
    PyObject *inner = PyDict_New();
    if (inner && visit(listing, kind, each, inner) < 0) Py_CLEAR(inner);
    return rp_python_put(dict, key, inner);
}

/* ---- the machine ------------------------------------------------------------------------ */

static int put_system_memory(PyObject *dict, const rp_pressure_info *info) {
    PyObject *memory = PyDict_New();
    bool is_known = info->total_bytes != RP_UNKNOWN_U64 && info->usable_bytes != RP_UNKNOWN_U64 &&
                    info->total_bytes > 0;
    double used = is_known ? 100 - 100 * (double)info->usable_bytes / (double)info->total_bytes : 0;
    if (memory && (put_mb(memory, "total_mb", info->total_bytes) < 0 ||
                   put_mb(memory, "available_mb", info->usable_bytes) < 0 ||
                   (is_known && put_number(memory, "percent_used", used < 0 ? 0 : used) < 0) ||
                   put_bool(memory, "under_pressure", rp_python_is_short(info)) < 0)) {
        Py_CLEAR(memory);
    }
    return rp_python_put(dict, "system_memory", memory);
}

static uint64_t charged_bytes(const rp_statistics *statistics, const char *id) {
    for (size_t i = 0; i < rp_statistics_device_count(statistics); i++) {
        const rp_ledger_info *device = rp_statistics_device(statistics, i);
        if (strcmp(device->device, id) == 0) return device->charged_bytes;
    }
    return 0;
}

static int put_device_memory(PyObject *dict, const rp_device *device, uint64_t allocated) {
    uint64_t total = device->memory_bytes_total;
    uint64_t free_bytes = device->memory_bytes_free;
    bool is_known = total != RP_UNKNOWN_U64 && free_bytes != RP_UNKNOWN_U64 && total > 0;
    double used = is_known ? 100 - 100 * (double)free_bytes / (double)total : 0;
    if (put_mb(dict, "total_mb", total) < 0 || put_mb(dict, "free_mb", free_bytes) < 0 ||
        put_mb(dict, "allocated_mb", allocated) < 0) {
        return -1;
    }
    if (!is_known) return 0;
    if (put_mb(dict, "reserved_mb", free_bytes < total ? total - free_bytes : 0) < 0) return -1;
    if (put_number(dict, "percent_used", used) < 0) return -1;
    return put_bool(dict, "under_pressure", used > 90);
}

static int put_accelerator(PyObject *dict, const rp_accelerator *accelerator) {
    if (!accelerator) return 0;
    if (accelerator->utilization_percent != UINT32_MAX &&
        put_u64(dict, "utilization_percent", accelerator->utilization_percent) < 0) {
        return -1;
    }
    if (accelerator->has_tensor_cores == RP_ANSWER_UNKNOWN) return 0;
    return put_bool(dict, "tensor_cores", accelerator->has_tensor_cores == RP_ANSWER_YES);
}

static PyObject *device_dict(const rp_device *device, long index, uint64_t allocated) {
    PyObject *dict = PyDict_New();
    if (dict && (rp_python_put(dict, "id", PyLong_FromLong(index)) < 0 ||
                 put_text(dict, "name", device->name ? device->name : device->id) < 0 ||
                 put_device_memory(dict, device, allocated) < 0 ||
                 put_accelerator(dict, device->accelerator) < 0)) {
        Py_CLEAR(dict);
    }
    return dict;
}

static int put_versions(PyObject *dict, const rp_accelerator *accelerator) {
    if (!accelerator) return 0;
    if (put_text(dict, "driver_version", accelerator->driver_version) < 0) return -1;
    return put_text(dict, "runtime_version", accelerator->runtime_version);
}

/* {} where there is none of that kind. */
static int put_kind(PyObject *stats, const char *key, const rp_statistics *statistics,
                    rp_device_kind kind) {
    const rp_snapshot *snapshot = rp_statistics_hardware(statistics);
    PyObject *dict = PyDict_New();
    PyObject *list = dict ? PyList_New(0) : NULL;
    long count = 0;
    int rc = list ? 0 : -1;
    for (size_t i = 0; rc == 0 && snapshot && i < rp_snapshot_device_count(snapshot); i++) {
        const rp_device *device = rp_snapshot_device(snapshot, i);
        if (device->kind != kind || !device->available) continue;
        if (count == 0) rc = put_versions(dict, device->accelerator);
        PyObject *one = device_dict(device, count, charged_bytes(statistics, device->id));
        if (!one || rc < 0 || PyList_Append(list, one) < 0) rc = -1;
        Py_XDECREF(one);
        count++;
    }
    if (rc == 0 && count > 0) {
        rc = rp_python_put(dict, "device_count", PyLong_FromLong(count));
        if (rc == 0) rc = PyDict_SetItemString(dict, "devices", list);
    }
    Py_XDECREF(list);
    if (rc < 0) Py_CLEAR(dict);
    return rp_python_put(stats, key, dict);
}

/* {"webnn": bool, "webgpu": bool}: whether a browser here has it, as far as anybody looked. */
static int put_web(PyObject *stats, const rp_statistics *statistics) {
    const rp_snapshot *snapshot = rp_statistics_hardware(statistics);
    PyObject *dict = PyDict_New();
    for (size_t i = 0; dict && snapshot && i < rp_snapshot_device_count(snapshot); i++) {
        const rp_device *device = rp_snapshot_device(snapshot, i);
        bool is_web = device->kind == RP_DEVICE_WEBNN || device->kind == RP_DEVICE_WEBGPU;
        if (is_web && put_bool(dict, rp_device_kind_name(device->kind), device->available) < 0) {
            Py_CLEAR(dict);
        }
    }
    return rp_python_put(stats, "web", dict);
}

static int put_machine(PyObject *stats, const rp_statistics *statistics) {
    const rp_totals *totals = rp_statistics_totals(statistics);
    PyObject *cpu = PyDict_New();
    if (cpu && totals->pressure.cpu_percent >= 0 &&
        put_number(cpu, "percent", totals->pressure.cpu_percent) < 0) {
        Py_CLEAR(cpu);
    }
    if (rp_python_put(stats, "cpu", cpu) < 0) return -1;
    if (put_system_memory(stats, &totals->pressure) < 0) return -1;
    if (put_kind(stats, "cuda_memory", statistics, RP_DEVICE_CUDA) < 0) return -1;
    if (put_kind(stats, "rocm", statistics, RP_DEVICE_ROCM) < 0) return -1;
    if (put_kind(stats, "mps", statistics, RP_DEVICE_MPS) < 0) return -1;
    if (put_kind(stats, "openvino", statistics, RP_DEVICE_OPENVINO) < 0) return -1;
    return put_web(stats, statistics);
}

/* ---- get_stats() ------------------------------------------------------------------------ */

static uint64_t since(uint64_t now, uint64_t then) {
    return now > then ? now - then : 0;
}

/* Objects that requests find: not those that only wait for their last lease. */
static uint64_t count_kind(const rp_statistics *statistics, rp_kind kind) {
    uint64_t count = 0;
    for (size_t i = 0; i < rp_statistics_entry_count(statistics); i++) {
        const rp_entry_info *entry = rp_statistics_entry(statistics, i);
        count += entry->kind == kind && !entry->is_draining;
    }
    return count;
}

static int put_counts(PyObject *stats, rp_python_pool *pool, const rp_statistics *statistics) {
    const rp_totals *totals = rp_statistics_totals(statistics);
    uint64_t hits = since(totals->hits, pool->cleared_hits);
    uint64_t misses = since(totals->misses, pool->cleared_misses);
    double ratio = hits + misses > 0 ? (double)hits / (double)(hits + misses) : 0;
    if (put_u64(stats, "hits", hits) < 0 || put_u64(stats, "misses", misses) < 0) return -1;
    if (put_u64(stats, "total_requests", hits + misses) < 0) return -1;
    if (put_number(stats, "hit_ratio", ratio) < 0) return -1;
    if (put_u64(stats, "memory_usage", totals->memory_bytes) < 0) return -1;
    if (put_mb(stats, "memory_usage_mb", totals->memory_bytes) < 0) return -1;
    if (put_u64(stats, "cached_resources", count_kind(statistics, RP_KIND_RESOURCE)) < 0) return -1;
    if (put_u64(stats, "cached_models", count_kind(statistics, RP_KIND_MODEL)) < 0) return -1;
    if (put_u64(stats, "cached_tokenizers", count_kind(statistics, RP_KIND_TOKENIZER)) < 0)
        return -1;
    if (put_time(stats, "timestamp", totals->taken_wall_ns) < 0) return -1;
    return put_bool(stats, "low_memory_mode", totals->is_low_memory);
}

static int put_cleanup(PyObject *stats, const rp_totals *totals) {
    PyObject *dict = PyDict_New();
    if (dict && (put_u64(dict, "runs", totals->cleanup_runs) < 0 ||
                 put_u64(dict, "removed", totals->cleanup_removed) < 0 ||
                 put_u64(dict, "freed_bytes", totals->cleanup_bytes) < 0 ||
                 put_time(dict, "last", totals->cleanup_wall_ns) < 0)) {
        Py_CLEAR(dict);
    }
    return rp_python_put(stats, "cleanup", dict);
}

static int put_devices(PyObject *stats, const rp_statistics *statistics) {
    PyObject *dict = PyDict_New();
    for (size_t i = 0; dict && i < rp_statistics_device_count(statistics); i++) {
        const rp_ledger_info *device = rp_statistics_device(statistics, i);
        if (put_u64(dict, device->device, device->charged_bytes) < 0) Py_CLEAR(dict);
    }
    return rp_python_put(stats, "devices", dict);
}

static int fill_stats(PyObject *stats, rp_python_pool *pool, const struct listing *listing) {
    const rp_statistics *statistics = listing->statistics;
    if (put_counts(stats, pool, statistics) < 0) return -1;
    if (put_machine(stats, statistics) < 0) return -1;
    if (put_each(stats, "models", listing, RP_KIND_MODEL, visit_entry) < 0) return -1;
    if (put_devices(stats, statistics) < 0) return -1;
    if (put_cleanup(stats, rp_statistics_totals(statistics)) < 0) return -1;
    return put_each(stats, "ages", listing, 0, visit_age);
}

static int fill_private(PyObject *stats, rp_python_pool *pool, const struct listing *listing) {
    const rp_totals *totals = rp_statistics_totals(listing->statistics);
    if (visit(listing, 0, visit_entry, stats) < 0) return -1;
    if (put_u64(stats, "hits", since(totals->hits, pool->cleared_hits)) < 0) return -1;
    if (put_u64(stats, "misses", since(totals->misses, pool->cleared_misses)) < 0) return -1;
    if (put_u64(stats, "memory_usage", totals->memory_bytes) < 0) return -1;
    if (put_each(stats, "creation_timestamps", listing, 0, visit_created) < 0) return -1;
    return put_each(stats, "last_accessed", listing, 0, visit_used);
}

static PyObject *stats_of(PyObject *self,
                          int (*fill)(PyObject *, rp_python_pool *, const struct listing *)) {
    struct listing listing;
    if (listing_init(&listing, (rp_python_pool *)self) < 0) return NULL;
    PyObject *stats = PyDict_New();
    if (stats && fill(stats, (rp_python_pool *)self, &listing) < 0) Py_CLEAR(stats);
    listing_fini(&listing);
    return stats;
}

PyObject *rp_python_get_stats(PyObject *self, PyObject *unused) {
    (void)unused;
    return stats_of(self, fill_stats);
}

static int64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* Whether anything waits for its last lease: that comes back without a call that would tell. */
static bool has_draining(const rp_statistics *statistics) {
    bool has_any = false;
    for (size_t i = 0; !has_any && i < rp_statistics_entry_count(statistics); i++) {
        has_any = rp_statistics_entry(statistics, i)->is_draining;
    }
    return has_any;
}

static int fill_figures(PyObject *stats, rp_python_pool *pool, const struct listing *listing) {
    if (fill_private(stats, pool, listing) < 0) return -1;
    PyObject *before = pool->figures;
    pool->figures = has_draining(listing->statistics) ? NULL : Py_NewRef(stats);
    pool->figures_at = listing->changes;
    pool->figures_ns = now_ns();
    Py_XDECREF(before);
    return 0;
}

/*
 * `pool._stats[key]` for each key of a thousand must not look at a thousand objects each time: the
 * same dict comes again while no call changed anything, for 20 ms at most, since objects of engines
 * and the machine's memory change without a call of ours.
 */
PyObject *rp_python_stats(PyObject *object, void *unused) {
    rp_python_pool *self = (rp_python_pool *)object;
    (void)unused;
    bool is_current = self->figures && self->figures_at == self->changes && self->pool &&
                      self->pid == (long)getpid() && now_ns() - self->figures_ns < 20000000;
    return is_current ? Py_NewRef(self->figures) : stats_of(object, fill_figures);
}

/* What clear() does not set to zero. */
static int fill_totals(PyObject *stats, rp_python_pool *pool, const struct listing *listing) {
    const rp_totals *totals = rp_statistics_totals(listing->statistics);
    (void)pool;
    if (put_u64(stats, "requests", totals->requests) < 0) return -1;
    if (put_u64(stats, "hits", totals->hits) < 0) return -1;
    if (put_u64(stats, "misses", totals->misses) < 0) return -1;
    if (put_u64(stats, "loads", totals->loads) < 0) return -1;
    if (put_u64(stats, "load_failures", totals->load_failures) < 0) return -1;
    if (put_u64(stats, "evictions", totals->evictions) < 0) return -1;
    if (put_u64(stats, "room_waits", totals->room_waits) < 0) return -1;
    if (put_u64(stats, "memory_bytes", totals->memory_bytes) < 0) return -1;
    return put_u64(stats, "peak_bytes", totals->peak_bytes);
}

PyObject *rp_python_totals(PyObject *self, void *unused) {
    (void)unused;
    return stats_of(self, fill_totals);
}

/* An engine's model may have gone meanwhile: then it is left out. */
static int put_objects(PyObject *dict, rp_python_pool *pool, const struct listing *listing,
                       rp_kind kind) {
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < listing->count; i++) {
        const struct row *row = &listing->rows[i];
        if (!row->entry || row->kind != kind) continue;
        const char *key = row->object ? NULL : PyUnicode_AsUTF8AndSize(row->key, NULL);
        rc = put_row(dict, row, key ? rp_python_model_find(pool, key) : Py_XNewRef(row->object));
    }
    return rc;
}

PyObject *rp_python_resources(PyObject *self, void *kind) {
    struct listing listing;
    if (listing_init(&listing, (rp_python_pool *)self) < 0) return NULL;
    PyObject *dict = PyDict_New();
    if (dict && put_objects(dict, (rp_python_pool *)self, &listing, (rp_kind)(intptr_t)kind) < 0) {
        Py_CLEAR(dict);
    }
    listing_fini(&listing);
    PyObject *proxy = dict ? PyDictProxy_New(dict) : NULL;
    Py_XDECREF(dict);
    return proxy;
}

/* ---- get_resource_details() ------------------------------------------------------------- */

static PyObject *leases_of(const rp_statistics *statistics, const char *key) {
    PyObject *list = PyList_New(0);
    for (size_t i = 0; list && i < rp_statistics_lease_count(statistics); i++) {
        const rp_lease_info *lease = rp_statistics_lease(statistics, i);
        if (strcmp(lease->key, key) != 0) continue;
        PyObject *one = Py_BuildValue(
            "{sLsLsKsd}", "pid", (long long)lease->pid, "thread_id", (long long)lease->thread_id,
            "count", (unsigned long long)lease->count, "oldest_seconds", lease->oldest_ms / 1e3);
        if (!one || PyList_Append(list, one) < 0) Py_CLEAR(list);
        Py_XDECREF(one);
    }
    return list;
}

static PyObject *placement_dict(const rp_placement *placement) {
    PyObject *dict = PyDict_New();
    if (dict && (put_text(dict, "device", placement->device) < 0 ||
                 put_text(dict, "precision", placement->precision) < 0 ||
                 put_text(dict, "engine", placement->engine) < 0 ||
                 put_text(dict, "policy", rp_policy_name(placement->policy)) < 0 ||
                 put_text(dict, "reason", placement->reason) < 0)) {
        Py_CLEAR(dict);
    }
    return dict;
}

static int fill_details(PyObject *dict, const struct row *row, const struct listing *listing) {
    const rp_entry_info *entry = row->entry;
    const rp_statistics *statistics = listing->statistics;
    if (put_entry(dict, row, taken_ns(listing)) < 0) return -1;
    if (PyDict_SetItemString(dict, "key", row->name) < 0) return -1;
    if (put_text(dict, "instance", entry->key) < 0) return -1;
    if (put_text(dict, "kind", rp_kind_name(entry->kind)) < 0) return -1;
    if (put_text(dict, "type", entry->type) < 0 || put_text(dict, "name", entry->name) < 0)
        return -1;
    if (put_text(dict, "engine", entry->placement.engine) < 0) return -1;
    if (put_text(dict, "state", "loaded") < 0) return -1;
    if (put_u64(dict, "memory_bytes", entry->memory_bytes) < 0) return -1;
    if (put_number(dict, "age_seconds", entry->age_ms / 1e3) < 0) return -1;
    if (rp_python_put(dict, "leases", leases_of(statistics, entry->key)) < 0) return -1;
    PyObject *needs = texts(entry->depends_on, entry->depends_on_count);
    if (rp_python_put(dict, "depends_on", needs) < 0) return -1;
    PyObject *needed_by = texts(entry->dependents, entry->dependent_count);
    if (rp_python_put(dict, "dependents", needed_by) < 0) return -1;
    return rp_python_put(dict, "placement", placement_dict(&entry->placement));
}

static const struct row *find_row(const struct listing *listing, PyObject *key) {
    for (size_t i = 0; i < listing->count; i++) {
        const struct row *row = &listing->rows[i];
        if (!row->entry) continue;
        if (PyUnicode_Compare(row->name, key) == 0 || PyUnicode_Compare(row->key, key) == 0) {
            return row;
        }
    }
    return NULL;
}

PyObject *rp_python_get_resource_details(PyObject *self, PyObject *key) {
    struct listing listing;
    if (!rp_python_utf8(key, "resource_key") || listing_init(&listing, (rp_python_pool *)self) < 0)
        return NULL;
    const struct row *row = find_row(&listing, key);
    PyObject *details = row ? PyDict_New() : NULL;
    if (details && fill_details(details, row, &listing) < 0) Py_CLEAR(details);
    if (!row) PyErr_SetObject(PyExc_KeyError, key);
    listing_fini(&listing);
    return details;
}
