/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The program of a child, from the moment at which it has its descriptors. It follows what the
 * interpreter's own main() does: no frame of Python is beneath the program, uncaught exceptions,
 * SystemExit and KeyboardInterrupt end it with the same words and status. Only the end of the
 * interpreter is another: what the server imported is left as it is (inside.py, tear_down()).
 */
#include "inside.h"

#include "child.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

extern char **environ;

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
    PyObject *variables = list_of((const char *const *)environ);
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

/* -u is for C's streams too. */
static void set_unbuffered(void) {
    setvbuf(stdin, NULL, _IONBF, BUFSIZ);
    setvbuf(stdout, NULL, _IONBF, BUFSIZ);
    setvbuf(stderr, NULL, _IONBF, BUFSIZ);
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

/* A script is known by its absolute name, as the interpreter makes it. NULL: no memory. */
static char *absolute_name(const char *name) {
    PyObject *given = PyUnicode_DecodeFSDefault(name);
    PyObject *made = given ? fs_inside_call("absolute_name", given, NULL) : NULL;
    PyObject *bytes = made ? PyUnicode_EncodeFSDefault(made) : NULL;
    char *copy = bytes ? strdup(PyBytes_AsString(bytes)) : NULL;
    PyErr_Clear();
    Py_XDECREF(bytes);
    Py_XDECREF(made);
    Py_XDECREF(given);
    return copy;
}

/* False with why the plain interpreter should have it. */
static bool find_program(const struct fs_request *request, struct program *program,
                         char why[FS_WHY_BYTES]) {
    *program =
        (struct program){.mode = (enum fs_mode)request->head->mode, .target = request->target};
    if (program->mode != FS_MODE_SCRIPT) return true;
    program->target = absolute_name(request->target);
    if (!program->target) {
        snprintf(why, FS_WHY_BYTES, "no memory for the name of the script");
        return false;
    }
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

/*
 * A __main__ of this program's own: the server's was frozen, so that what is in it could not be
 * collected at the end. That of a program from stdin has two names that others don't have.
 */
static PyObject *main_names(const struct program *program) {
    PyObject *flag = PyBool_FromLong(program->mode == FS_MODE_STDIN);
    PyObject *names = flag ? fs_inside_call("make_main", flag, NULL) : NULL;
    Py_XDECREF(flag);
    return names;
}

static PyObject *run_source(PyObject *names, const char *source, const char *file) {
    PyObject *code = Py_CompileString(source, file, Py_file_input);
    PyObject *result = code ? PyEval_EvalCode(code, names, names) : NULL;
    Py_XDECREF(code);
    return result;
}

static PyObject *run_module(const char *name, bool alters_argv) {
    PyObject *text = PyUnicode_FromString(name);
    PyObject *done = text ? fs_inside_call("forget_module", text, NULL) : NULL;
    Py_XDECREF(text);
    Py_XDECREF(done);
    if (!done) return NULL;
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

/* What the version makes of a program on the command line before and after it is compiled. */
static PyObject *run_code(PyObject *names, const char *source) {
    PyObject *given = PyUnicode_FromString(source);
    PyObject *text = given ? fs_inside_call("dedent", given, NULL) : NULL;
    PyObject *bytes = text ? PyUnicode_AsUTF8String(text) : NULL;
    const char *dedented = bytes ? PyBytes_AsString(bytes) : NULL;
    PyObject *code = dedented ? Py_CompileString(dedented, "<string>", Py_file_input) : NULL;
    PyObject *shown = code ? fs_inside_call("show_lines", code, text, NULL) : NULL;
    PyObject *result = shown ? PyEval_EvalCode(code, names, names) : NULL;
    Py_XDECREF(shown);
    Py_XDECREF(code);
    Py_XDECREF(bytes);
    Py_XDECREF(text);
    Py_XDECREF(given);
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

static PyObject *run_stdin(PyObject *names, struct program *program) {
    program->source = read_source(STDIN_FILENO);
    if (program->source) return run_source(names, program->source, "<stdin>");
    PyErr_SetString(PyExc_SyntaxError, "source code cannot contain null bytes");
    return NULL;
}

static PyObject *run_program(struct program *program) {
    PyObject *names = main_names(program);
    PyObject *result = NULL;
    if (!names) return NULL;
    switch (program->mode) {
    case FS_MODE_CODE:
        result = run_code(names, program->target);
        break;
    case FS_MODE_MODULE:
        result = run_module(program->target, true);
        break;
    case FS_MODE_SCRIPT:
        result = program->is_folder ? run_module("__main__", false) : run_script(names, program);
        break;
    case FS_MODE_STDIN:
        result = run_stdin(names, program);
        break;
    }
    Py_DECREF(names);
    return result;
}

/* --- its end --------------------------------------------------------------------------------- */

/* Where sys.stderr is None C's does. */
static void print_error(PyObject *object) {
    PyObject *stream = PySys_GetObject("stderr");
    if (stream && stream != Py_None) {
        if (PyFile_WriteObject(object, stream, Py_PRINT_RAW) != 0) PyErr_Clear();
    } else {
        PyObject *text = PyObject_Str(object);
        PyObject *bytes =
            text ? PyUnicode_AsEncodedString(text, "utf-8", "backslashreplace") : NULL;
        if (bytes) fputs(PyBytes_AsString(bytes), stderr);
        PyErr_Clear();
        Py_XDECREF(bytes);
        Py_XDECREF(text);
    }
    PySys_WriteStderr("\n");
}

/* The exit code of the SystemExit that was raised; what is no number is printed. */
static int take_system_exit(void) {
    PyObject *type;
    PyObject *value;
    PyObject *trace;
    int code = 0;
    PyErr_Fetch(&type, &value, &trace);
    PyErr_NormalizeException(&type, &value, &trace);
    PyObject *given = value ? PyObject_GetAttrString(value, "code") : NULL;
    if (!given) {
        PyErr_Clear();
        given = value;
        Py_XINCREF(given);
    }
    if (given && PyLong_Check(given)) {
        code = (int)PyLong_AsLong(given);
        PyErr_Clear();
    } else if (given && given != Py_None) {
        code = CODE_FAILED;
        print_error(given);
    }
    Py_XDECREF(given);
    Py_XDECREF(type);
    Py_XDECREF(value);
    Py_XDECREF(trace);
    return code;
}

/*
 * The exception as one that nobody could take. Versions from 3.13 on tell what was done then, by a
 * function that the others have not.
 */
static void tell_unraisable(const char *what, PyObject *object) {
    void (*format)(const char *, ...) = NULL;
    void *found = dlsym(RTLD_DEFAULT, "PyErr_FormatUnraisable");
    memcpy(&format, &found, sizeof format);
    if (format && what) {
        format("Exception ignored on %s", what);
    } else {
        PyErr_WriteUnraisable(object);
    }
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
            tell_unraisable("flushing sys.stdout", stream);
            is_flushed = false;
        } else {
            PyErr_Clear();
            is_flushed = false;
        }
    }
    return is_flushed;
}

static void call_last(const char *module, const char *function, const char *what,
                      bool is_imported) {
    PyObject *name = PyUnicode_FromString(module);
    PyObject *found = !name ? NULL : is_imported ? PyImport_GetModule(name) : PyImport_Import(name);
    PyObject *done = found ? PyObject_CallMethod(found, function, NULL) : NULL;
    if (found && !done) tell_unraisable(what, found);
    PyErr_Clear();
    Py_XDECREF(done);
    Py_XDECREF(found);
    Py_XDECREF(name);
}

/* As Py_FinalizeEx() begins: threads, functions of atexit, streams; then what the child made. */
static bool finish(void) {
    call_last("threading", "_shutdown", "threading shutdown", true);
    call_last("atexit", "_run_exitfuncs", NULL, false);
    bool is_flushed = flush_streams();
    fs_events_imported();
    PyObject *grown = fs_names_grown();
    PyObject *done = grown ? fs_inside_call("tear_down", grown, NULL) : NULL;
    if (!done) PyErr_Clear();
    Py_XDECREF(done);
    Py_XDECREF(grown);
    return is_flushed;
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
    if (request->head->is_unbuffered) set_unbuffered();
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
        is_interrupted = PyErr_Occurred() == PyExc_KeyboardInterrupt; /* no class derived from it */
        PyErr_Print();
        code = CODE_FAILED;
    }
    Py_XDECREF(result);
    free(program.source);
    end(code, is_interrupted);
}
