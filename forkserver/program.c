/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The program of a child, from the moment at which it has its descriptors. It follows what the
 * interpreter's own main() does: no frame of Python is beneath the program, uncaught exceptions,
 * SystemExit and KeyboardInterrupt end it with the same words and status. Only the end of the
 * interpreter is another: what the server imported is left as it is (inside.py, tear_down()).
 */
#include "inside.h"

#include "child.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { CODE_FAILED = 1, CODE_NOT_FLUSHED = 120, WHAT_BYTES = 80 };

/* --- before it runs -------------------------------------------------------------------------- */

/* Bytes objects of texts; NULL with an exception. */
static PyObject *list_of(const char *const *texts) {
    PyObject *list = PyList_New(0);
    for (; list && *texts; texts++) {
        PyObject *bytes = PyBytes_FromString(*texts);
        if (!bytes || PyList_Append(list, bytes) != 0) Py_CLEAR(list);
        Py_XDECREF(bytes);
    }
    return list;
}

static PyObject *list_of_signals(uint64_t signals) {
    PyObject *list = PyList_New(0);
    for (int i = 1; list && i <= 64; i++) {
        if (!(signals >> (i - 1) & 1)) continue;
        PyObject *number = PyLong_FromLong(i);
        if (!number || PyList_Append(list, number) != 0) Py_CLEAR(list);
        Py_XDECREF(number);
    }
    return list;
}

static bool become(const struct fs_request *request) {
    PyObject *argv = list_of(request->argv);
    PyObject *original = list_of(request->original);
    PyObject *variables = list_of(request->environment);
    PyObject *ignored = list_of_signals(request->head->signals_ignored);
    PyObject *flag = PyBool_FromLong(request->head->is_unbuffered != 0);
    PyObject *done = NULL;
    if (argv && original && variables && ignored) {
        done = fs_inside_call("become", argv, original, variables, flag, ignored, NULL);
    }
    Py_XDECREF(argv);
    Py_XDECREF(original);
    Py_XDECREF(variables);
    Py_XDECREF(ignored);
    Py_XDECREF(flag);
    Py_XDECREF(done);
    return done != NULL;
}

static void set_signal_mask(uint64_t blocked) {
    sigset_t set;
    sigemptyset(&set);
    for (int i = 1; i <= 64; i++) {
        if (blocked >> (i - 1) & 1) sigaddset(&set, i);
    }
    sigprocmask(SIG_SETMASK, &set, NULL);
}

/* --- what it runs ---------------------------------------------------------------------------- */

/* A program as it was found before anybody is told that it begins. */
struct program {
    enum fs_mode mode;
    const char *target;
    char *source;   /* of a script, of stdin; NULL: not read */
    bool is_folder; /* a script that is a folder or an archive with a __main__ in it */
};

/* All of a file, ended by NUL. NULL: it cannot be read, or is no source: it has a NUL in it. */
static char *read_source(int fd) {
    size_t size = 0;
    size_t room = 1 << 16;
    char *text = malloc(room);
    while (text) {
        ssize_t got = read(fd, text + size, room - size - 1);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) break;
        size += (size_t)got;
        if (room - size > 1) continue;
        room *= 2;
        char *larger = realloc(text, room);
        if (!larger) free(text);
        text = larger;
    }
    if (!text) return NULL;
    text[size] = '\0';
    if (strlen(text) == size) return text;
    free(text);
    return NULL;
}

/* Whether the import system knows that path as a place of modules. */
static bool is_place_of_modules(const char *path) {
    PyObject *name = PyUnicode_DecodeFSDefault(path);
    PyObject *importer = name ? PyImport_GetImporter(name) : NULL;
    bool is_place = importer && importer != Py_None;
    PyErr_Clear();
    Py_XDECREF(importer);
    Py_XDECREF(name);
    return is_place;
}

/* False with why the plain interpreter should have it. */
static bool find_program(const struct fs_request *request, struct program *program,
                         char why[FS_WHY_BYTES]) {
    *program =
        (struct program){.mode = (enum fs_mode)request->head->mode, .target = request->target};
    if (program->mode != FS_MODE_SCRIPT) return true;
    program->is_folder = is_place_of_modules(program->target);
    if (program->is_folder) return true;
    int fd = open(program->target, O_RDONLY | O_CLOEXEC);
    struct stat found;
    if (fd >= 0 && fstat(fd, &found) == 0 && S_ISREG(found.st_mode)) {
        program->source = read_source(fd);
    }
    if (fd >= 0) close(fd);
    if (!program->source)
        snprintf(why, FS_WHY_BYTES, "the script is no file of source that can be read");
    return program->source != NULL;
}

static bool put_first(const char *function, const char *path) {
    PyObject *name = PyUnicode_DecodeFSDefault(path);
    if (name && function) {
        PyObject *folder = fs_inside_call(function, name, NULL);
        Py_DECREF(name);
        name = folder;
    }
    PyObject *done = name ? fs_inside_call("put_first", name, NULL) : NULL;
    Py_XDECREF(name);
    Py_XDECREF(done);
    return done != NULL;
}

/* The first entry of sys.path, as a plain start has it. */
static bool set_path(const struct program *program) {
    char folder[4096];
    switch (program->mode) {
    case FS_MODE_SCRIPT:
        return put_first(program->is_folder ? NULL : "script_folder", program->target);
    case FS_MODE_MODULE:
        /* A folder that is gone has no name, and adds nothing. */
        return getcwd(folder, sizeof folder) ? put_first(NULL, folder) : true;
    case FS_MODE_CODE:
    case FS_MODE_STDIN:
        return put_first(NULL, "");
    }
    return false;
}

/* __main__ of the interpreter's own start from stdin has two names that others don't have. */
static PyObject *main_names(const struct program *program) {
    PyObject *main = PyImport_AddModule("__main__");
    PyObject *names = main ? PyModule_GetDict(main) : NULL;
    if (!names) return NULL;
    if (program->mode != FS_MODE_STDIN) {
        if (PyDict_DelItemString(names, "__file__") != 0) PyErr_Clear();
        if (PyDict_DelItemString(names, "__cached__") != 0) PyErr_Clear();
    }
    return names;
}

static PyObject *run_source(PyObject *names, const char *source, const char *file) {
    PyObject *code = Py_CompileString(source, file, Py_file_input);
    PyObject *result = code ? PyEval_EvalCode(code, names, names) : NULL;
    Py_XDECREF(code);
    return result;
}

static PyObject *run_module(const char *name, bool alters_argv) {
    PyObject *runpy = PyImport_ImportModule("runpy");
    PyObject *function = runpy ? PyObject_GetAttrString(runpy, "_run_module_as_main") : NULL;
    PyObject *arguments =
        function ? Py_BuildValue("(sO)", name, alters_argv ? Py_True : Py_False) : NULL;
    PyObject *result = arguments ? PyObject_Call(function, arguments, NULL) : NULL;
    Py_XDECREF(arguments);
    Py_XDECREF(function);
    Py_XDECREF(runpy);
    return result;
}

/* Since 3.13 a traceback shows the lines of a program on the command line. */
static PyObject *run_code(PyObject *names, const char *source) {
    PyObject *code = Py_CompileString(source, "<string>", Py_file_input);
    PyObject *shown = code ? fs_inside_call("show_lines", code, NULL) : NULL;
    PyObject *result = NULL;
    if (shown && shown != Py_None) {
        PyObject *text = PyUnicode_FromString(source);
        PyObject *done = text ? PyObject_CallFunctionObjArgs(shown, code, text, NULL, NULL) : NULL;
        Py_XDECREF(text);
        Py_XDECREF(done);
        if (!done) PyErr_Clear();
    }
    Py_XDECREF(shown);
    if (code && !PyErr_Occurred()) result = PyEval_EvalCode(code, names, names);
    Py_XDECREF(code);
    return result;
}

static PyObject *run_script(PyObject *names, const struct program *program) {
    PyObject *name = PyUnicode_DecodeFSDefault(program->target);
    PyObject *done = name ? fs_inside_call("name_script", names, name, NULL) : NULL;
    PyObject *result = done ? run_source(names, program->source, program->target) : NULL;
    Py_XDECREF(name);
    Py_XDECREF(done);
    return result;
}

static PyObject *run_program(struct program *program) {
    PyObject *names = main_names(program);
    if (!names) return NULL;
    switch (program->mode) {
    case FS_MODE_CODE:
        return run_code(names, program->target);
    case FS_MODE_MODULE:
        return run_module(program->target, true);
    case FS_MODE_SCRIPT:
        return program->is_folder ? run_module("__main__", false) : run_script(names, program);
    case FS_MODE_STDIN:
        program->source = read_source(STDIN_FILENO);
        if (program->source) return run_source(names, program->source, "<stdin>");
        PyErr_SetString(PyExc_SyntaxError, "source code cannot contain null bytes");
        return NULL;
    }
    return NULL;
}

/* --- its end --------------------------------------------------------------------------------- */

/* The exit code of the SystemExit that was raised; what is no number is printed. */
static int take_system_exit(void) {
    PyObject *type;
    PyObject *value;
    PyObject *trace;
    int code = 0;
    PyErr_Fetch(&type, &value, &trace);
    PyErr_NormalizeException(&type, &value, &trace);
    PyObject *given = value ? PyObject_GetAttrString(value, "code") : NULL;
    if (!given) PyErr_Clear();
    if (given && PyLong_Check(given)) {
        code = (int)PyLong_AsLong(given);
        PyErr_Clear();
    } else if (given && given != Py_None) {
        PyObject *stream = PySys_GetObject("stderr");
        code = CODE_FAILED;
        if (stream && stream != Py_None) {
            if (PyFile_WriteObject(given, stream, Py_PRINT_RAW) != 0) PyErr_Clear();
        }
        PySys_WriteStderr("\n");
    }
    Py_XDECREF(given);
    Py_XDECREF(type);
    Py_XDECREF(value);
    Py_XDECREF(trace);
    return code;
}

/* False when what was printed could not be written. */
static bool flush_streams(void) {
    bool is_flushed = true;
    static const char *const names[] = {"stdout", "stderr"};
    for (size_t i = 0; i < 2; i++) {
        PyObject *stream = PySys_GetObject(names[i]);
        if (!stream || stream == Py_None) continue;
        PyObject *closed = PyObject_GetAttrString(stream, "closed");
        if (!closed) PyErr_Clear();
        bool is_closed = closed && PyObject_IsTrue(closed) == 1;
        Py_XDECREF(closed);
        if (is_closed) continue;
        PyObject *done = PyObject_CallMethod(stream, "flush", NULL);
        if (done) {
            Py_DECREF(done);
        } else if (i == 0) {
            PyErr_WriteUnraisable(stream);
            is_flushed = false;
        } else {
            PyErr_Clear();
            is_flushed = false;
        }
    }
    return is_flushed;
}

static void call_last(const char *module, const char *function, bool is_imported) {
    PyObject *name = PyUnicode_FromString(module);
    PyObject *found = !name ? NULL : is_imported ? PyImport_GetModule(name) : PyImport_Import(name);
    PyObject *done = found ? PyObject_CallMethod(found, function, NULL) : NULL;
    if (found && !done) PyErr_WriteUnraisable(found);
    PyErr_Clear();
    Py_XDECREF(done);
    Py_XDECREF(found);
    Py_XDECREF(name);
}

/* As Py_FinalizeEx() begins: threads, functions of atexit, streams; then what the child made. */
static bool finish(void) {
    call_last("threading", "_shutdown", true);
    call_last("atexit", "_run_exitfuncs", false);
    bool is_flushed = flush_streams();
    fs_events_imported();
    PyObject *done = fs_inside_call("tear_down", NULL);
    if (!done) PyErr_Clear();
    Py_XDECREF(done);
    return flush_streams() && is_flushed;
}

static _Noreturn void end(int code, bool is_interrupted) {
    if (!finish()) code = CODE_NOT_FLUSHED;
    if (is_interrupted) {
        signal(SIGINT, SIG_DFL);
        kill(getpid(), SIGINT);
    }
    exit(code);
}

/*
 * The last of exit()'s functions, since it was registered first of all in this process: those that
 * libraries of the server registered before, destructors of C++ among them, would take apart what
 * the fork shares, page by page (180 ms for torch), for the kernel to throw away.
 */
static void leave(int status, void *user) {
    (void)user;
    fflush(NULL);
    _exit(status);
}

/* --- all of it ------------------------------------------------------------------------------- */

static void refuse(int connection, const char *why) {
    struct fs_frame frame = fs_frame_of(FS_REFUSED, 0, 0, why);
    fs_send(connection, &frame, NULL, 0);
    _exit(CODE_FAILED);
}

static void tell_started(int connection) {
    struct fs_frame frame = fs_frame_of(FS_STARTED, 0, getpid(), NULL);
    int self = (int)syscall(SYS_pidfd_open, getpid(), 0);
    /* A launcher that waits no more runs the program itself: it is not to run twice. */
    if (!fs_send(connection, &frame, &self, self >= 0 ? 1 : 0)) _exit(CODE_FAILED);
    if (self >= 0) close(self);
    close(connection);
}

void fs_program_run(const struct fs_request *request, int connection,
                    const struct fs_imports *imports) {
    struct program program;
    char why[FS_WHY_BYTES] = "";
    if (!become(request)) {
        PyErr_Print();
        refuse(connection, "the interpreter could not take its environment");
    }
    if (!find_program(request, &program, why)) refuse(connection, why);
    on_exit(leave, NULL);
    fs_events_open(request);
    fs_events_forked(imports);
    set_signal_mask(request->head->signals_blocked);
    tell_started(connection);
    PyObject *result = set_path(&program) ? run_program(&program) : NULL;
    int code = 0;
    bool is_interrupted = false;
    if (!result && PyErr_ExceptionMatches(PyExc_SystemExit)) {
        code = take_system_exit();
    } else if (!result) {
        is_interrupted = PyErr_ExceptionMatches(PyExc_KeyboardInterrupt) != 0;
        PyErr_Print();
        code = CODE_FAILED;
    }
    Py_XDECREF(result);
    free(program.source);
    end(code, is_interrupted);
}
