# SPDX-License-Identifier: Apache-2.0
"""Models that an engine loads from a file: what goes in, what comes out, who has them."""

import array
import ctypes
import gc
import itertools
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import threading
import unittest
import weakref

import resource_pool
from resource_pool import ResourcePool

ROOT = pathlib.Path(__file__).resolve().parents[2]
RUNTIME = ROOT / "build/deps/lib/libonnxruntime.so.1"
RPOOL = ROOT / "build/cli/rpool"
# The packages that tools/setup brings, where this interpreter has no numpy of its own.
PACKAGES = ROOT / "build/venv/lib" / f"python{sysconfig.get_python_version()}" / "site-packages"

if RUNTIME.exists():
    os.environ.setdefault("RESOURCE_POOL_ONNXRUNTIME", str(RUNTIME))

try:
    import numpy
except ImportError:
    if PACKAGES.is_dir():
        sys.path.append(str(PACKAGES))
    try:
        import numpy
    except ImportError:
        numpy = None

needs_numpy = unittest.skipUnless(numpy, "numpy is not installed")
needs_runtime = unittest.skipUnless(
    os.environ.get("RESOURCE_POOL_ONNXRUNTIME"), "ONNX Runtime is not here: tools/setup brings it")
needs_broker = unittest.skipUnless(RPOOL.exists(), "build/cli/rpool is not built")

NUMBERS = itertools.count()
FLOAT, UINT8, INT32, INT64, STRING, BOOL, FLOAT16, DOUBLE, BFLOAT16 = 1, 2, 6, 7, 8, 9, 10, 11, 16


# ---- ONNX files, byte by byte: no other package is needed ----


def varint(number):
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


def field(number, value):
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    value = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(value)) + value


def port(name, element, shape):
    sizes = b"".join(field(1, field(1, s) if isinstance(s, int) else field(2, s) if s else b"") for s in shape)
    return field(1, name) + field(2, field(1, field(1, element) + field(2, sizes)))


def node(operator, inputs, output):
    return b"".join(field(1, name) for name in inputs) + field(2, output) + field(4, operator)


def graph(nodes, inputs, outputs):
    body = b"".join(field(1, one) for one in nodes) + field(2, "graph")
    body += b"".join(field(11, one) for one in inputs) + b"".join(field(12, one) for one in outputs)
    return field(1, 8) + field(2, "a test") + field(7, body) + field(8, field(2, 17))


def doubling(element=FLOAT, shape=("batch", 3)):
    return graph([node("Add", ["x", "x"], "y")], [port("x", element, shape)], [port("y", element, shape)])


def same(element, shape=("n",)):
    return graph([node("Identity", ["x"], "y")], [port("x", element, shape)], [port("y", element, shape)])


def sum_and_product():
    shape = ["batch", 3]
    return graph([node("Add", ["a", "b"], "sum"), node("Mul", ["a", "b"], "product")],
                 [port("a", FLOAT, shape), port("b", FLOAT, shape)],
                 [port("sum", FLOAT, shape), port("product", FLOAT, shape)])


class Packed:
    """DLPack of somebody else: a numpy array under another name."""

    def __init__(self, of):
        self.of = of

    def __dlpack__(self, **options):
        return self.of.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.of.__dlpack_device__()


def run_python(program, *arguments, **environment):
    return subprocess.run([sys.executable, "-W", "error", "-c", program, *arguments], text=True, capture_output=True,
                          timeout=120, check=False,
                          env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environment})


@needs_runtime
class Files(unittest.TestCase):
    def setUp(self):
        # A name without letters by chance: "nf4" would say how the weights are stored.
        self.folder = pathlib.Path(tempfile.gettempdir(), f"models-of-{os.getpid()}-{next(NUMBERS)}")
        self.folder.mkdir()
        self.addCleanup(shutil.rmtree, self.folder)
        self.pool = ResourcePool(history="off", share="process")

    def write(self, data, name="model.onnx"):
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
        return str(path)

    def get(self, data, name="model.onnx"):
        return self.pool.get_model("embedding", self.write(data, name))

    def refuses(self, what, *arguments, error=resource_pool.ArgumentError, **names):
        """What is wrong with that call."""
        with self.assertRaises(error) as caught:
            what(*arguments, **names)
        return f"{caught.exception} {caught.exception.hint}"


class Running(Files):
    def test_an_array_goes_in_and_one_output_comes_out(self):
        model = self.get(doubling(shape=(2, 3)))
        given = memoryview(array.array("f", [1, 2, 3, 4, 5, 6])).cast("B").cast("f", [2, 3])
        self.assertEqual(memoryview(model(given)).tolist(), [[2, 4, 6], [8, 10, 12]])

    @needs_numpy
    def test_inputs_are_given_in_order_by_name_in_a_list_or_in_a_mapping(self):
        model = self.get(sum_and_product())
        a, b = numpy.float32([[1, 2, 3]]), numpy.float32([[4, 5, 6]])

        class Batch:
            def keys(self):
                return ["b", "a"]

            def __getitem__(self, key):
                return {"a": a, "b": b}[key]

        for out in (model(a, b), model(a=a, b=b), model(b=b, a=a), model([a, b]), model((a, b)), model(a, b=b),
                    model({"b": b, "a": a}), model(Batch())):
            self.assertEqual(list(out), ["sum", "product"])
            numpy.testing.assert_array_equal(out["sum"], [[5, 7, 9]])
            numpy.testing.assert_array_equal(out["product"], [[4, 10, 18]])
            self.assertIs(type(out["sum"]), numpy.ndarray)

    @needs_numpy
    def test_a_list_is_the_value_of_the_only_input_or_holds_it(self):
        model = self.get(doubling())
        for value in ([[1, 2, 3]], [[1.0, 2, 3]], [numpy.float32([[1, 2, 3]])], ([1, 2, 3],)):
            out = model(value)
            self.assertEqual((out.dtype.name, out.tolist()), ("float32", [[2, 4, 6]]))

    @needs_numpy
    def test_every_type_of_number_goes_through_as_it_is(self):
        for element, dtype in ((FLOAT, "float32"), (DOUBLE, "float64"), (FLOAT16, "float16"), (INT32, "int32"),
                               (INT64, "int64"), (UINT8, "uint8"), (BOOL, "bool")):
            with self.subTest(dtype):
                model = self.get(same(element), f"{dtype}.onnx")
                given = numpy.array([0, 1, 1, 0], dtype=dtype)
                out = model(given)
                self.assertEqual(out.dtype, given.dtype)
                numpy.testing.assert_array_equal(out, given)
                numpy.testing.assert_array_equal(model(Packed(given)), given)
                numpy.testing.assert_array_equal(model([0, 1, 1, 0]), given)

    @needs_numpy
    def test_bfloat16_goes_in_where_somebody_has_it_and_comes_out_as_a_tensor(self):
        try:
            import ml_dtypes
        except ImportError:
            self.skipTest("ml_dtypes is not installed")
        model = self.get(same(BFLOAT16))
        out = model(numpy.array([1.5, -2.0], dtype=ml_dtypes.bfloat16))
        self.assertEqual((type(out), out.dtype, out.shape), (resource_pool.Tensor, "bfloat16", (2,)))
        again = model(out)  # by DLPack
        self.assertEqual((again.dtype, again.nbytes), ("bfloat16", 4))
        with self.assertRaises(BufferError):
            memoryview(out)

    @needs_numpy
    def test_what_has_gaps_is_read_rightly(self):
        model = self.get(doubling(DOUBLE, ("a", "b", "c")))
        whole = numpy.arange(4 * 5 * 6, dtype="float64").reshape(4, 5, 6)
        for view in (whole.T, whole[::2, 1:, ::-1], whole[:, :, 3:4], whole[1:1], numpy.asfortranarray(whole),
                     numpy.broadcast_to(whole[0, 0], (2, 3, 6)), whole[::-1]):
            numpy.testing.assert_array_equal(model(view), view * 2)
            if view.flags.writeable:
                numpy.testing.assert_array_equal(model(Packed(view)), view * 2)

    @needs_numpy
    def test_what_cannot_be_written_to_can_be_given(self):
        given = numpy.float32([[1, 2, 3]])
        given.flags.writeable = False
        self.assertEqual(self.get(doubling())(given).tolist(), [[2, 4, 6]])

    @needs_numpy
    def test_inputs_and_outputs_are_not_copied(self):
        model = self.get(doubling())
        given = numpy.ones((100_000, 3), dtype="float32")
        out = model(given)
        self.assertIsInstance(out.base, (memoryview, resource_pool.Tensor))
        out[0] = 7  # it is the caller's
        self.assertEqual(out[:2].tolist(), [[7, 7, 7], [2, 2, 2]])

    @needs_numpy
    def test_a_result_lives_as_long_as_any_array_on_it(self):
        out = self.get(sum_and_product())(numpy.ones((1000, 3), "float32"), numpy.ones((1000, 3), "float32"))
        part = out["sum"][10:12]
        del out
        self.pool.clear()
        self.pool.close()
        gc.collect()
        self.assertEqual(part.tolist(), [[2, 2, 2], [2, 2, 2]])

    @needs_numpy
    def test_several_threads_run_one_model(self):
        model = self.get(doubling())
        wrong = []

        def work(number):
            given = numpy.full((64, 3), number, dtype="float32")
            for _ in range(200):
                if not (model(given) == 2 * number).all():
                    wrong.append(number)

        threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(wrong, [])


class WrongInputs(Files):
    @needs_numpy
    def test_a_wrong_type_names_input_expected_and_given(self):
        said = self.refuses(self.get(doubling()), numpy.ones((1, 3), "float64"))
        self.assertIn("the input 'x' wants float32, not float64", said)
        ids = self.get(same(INT32), "ids.onnx")
        self.assertIn("the input 'x' wants int32, not int64", self.refuses(ids, numpy.ones(2, "int64")))
        self.assertIn("wants int32, not int64", self.refuses(ids, Packed(numpy.ones(2, "int64"))))
        self.assertIn("wants int32, not float64", self.refuses(ids, [1.5, 2.0]))
        self.assertIn("the input 'x' wants int32, and cannot be read", self.refuses(ids, [2**40]))
        self.assertIn("format '>i'", self.refuses(ids, numpy.ones(2, ">i4")))
        self.assertIn("format 'O'", self.refuses(ids, numpy.array([None, 1])))
        self.assertIn("wants int32", self.refuses(ids, ["a", "b"]))
        self.assertIn("the input 'x' wants int32, and cannot be read", self.refuses(ids, [[1, 2], [3]]))
        self.assertIn("wants int32", self.refuses(ids, object()))
        self.assertIn("wants int32", self.refuses(ids, "text"))
        self.assertIn("wants int32", self.refuses(ids, numpy.ones(2, "datetime64[s]")))

    @needs_numpy
    def test_wrong_dimensions_name_both(self):
        model = self.get(doubling())
        self.assertIn("the input 'x' wants 2 dimensions, not 1", self.refuses(model, numpy.ones(3, "float32")))
        self.assertIn("dimension 1 of the input 'x' is 3, not 4", self.refuses(model, numpy.ones((1, 4), "float32")))
        self.assertIn("wants 2 dimensions, not 0", self.refuses(model, 1.0))

    @needs_numpy
    def test_missing_and_unknown_names_say_which_there_are(self):
        model = self.get(sum_and_product())
        a = numpy.ones((1, 3), "float32")
        said = self.refuses(model, a=a)
        self.assertIn("the input 'b' is missing", said)
        self.assertIn("has the inputs: a, b", said)
        self.assertIn("the input 'c' is none of the model's", self.refuses(model, a=a, b=a, c=a))
        self.assertIn("the input 'a' was given twice", self.refuses(model, a, a=a, b=a))
        self.assertIn("has 2 inputs, 1 were given", self.refuses(model, a))
        self.assertIn("has 2 inputs, 3 were given", self.refuses(model, a, a, a))
        self.assertIn("has 2 inputs, 3 were given", self.refuses(model, a, a, a, b=a))
        self.assertIn("the input 'a' is missing", self.refuses(model))
        self.assertRaises(TypeError, model, {1: a})

    def test_texts_are_refused(self):
        model = self.get(same(STRING))
        self.assertEqual(model.get_inputs()[0].type, "tensor(string)")
        said = self.refuses(model, ["a"], error=resource_pool.UnsupportedError)
        self.assertIn("the input 'x' is of type string: only tensors of numbers", said)

    @needs_numpy
    def test_what_cannot_be_read_is_told_with_its_cause(self):
        class Broken:
            def __dlpack__(self, **options):
                raise BufferError("it lies on the moon")

        class Interrupted:
            def __dlpack__(self, **options):
                raise KeyboardInterrupt

        class Nonsense:
            def __dlpack__(self, **options):
                return 7

        model = self.get(doubling())
        with self.assertRaisesRegex(resource_pool.ArgumentError, "the input 'x' .* it lies on the moon") as caught:
            model(Broken())
        self.assertIsInstance(caught.exception.__cause__, BufferError)
        self.assertRaises(KeyboardInterrupt, model, Interrupted())
        self.assertIn("no tensor", self.refuses(model, Nonsense()))

    @needs_numpy
    def test_a_list_of_inputs_that_changes_under_the_call_is_safe(self):
        model = self.get(sum_and_product())
        feeds = {}

        class Clearing:
            def __dlpack__(self, **options):
                feeds.clear()
                gc.collect()
                return numpy.ones((1, 3), "float32").__dlpack__()

        feeds.update(a=Clearing(), b=numpy.ones((1, 3), "float32"))
        self.assertEqual(model(feeds)["sum"].tolist(), [[2, 2, 2]])


class Session(Files):
    """The methods of an InferenceSession."""

    @needs_numpy
    def test_run_gives_a_list_in_the_order_of_the_names(self):
        model = self.get(sum_and_product())
        feeds = {"a": numpy.float32([[1, 2, 3]]), "b": numpy.float32([[2, 2, 2]])}
        self.assertEqual([out.tolist() for out in model.run(None, feeds)], [[[3, 4, 5]], [[2, 4, 6]]])
        self.assertEqual([out.tolist() for out in model.run(["product", "sum"], feeds)], [[[2, 4, 6]], [[3, 4, 5]]])
        self.assertEqual(len(model.run(output_names=["sum"], input_feed=feeds, run_options=None)), 1)
        self.assertEqual(model.run([], feeds), [])
        self.assertIn("no output 'c'", self.refuses(model.run, ["c"], feeds))
        self.refuses(model.run, None, feeds, object(), error=resource_pool.UnsupportedError)
        self.assertRaises(TypeError, model.run, None)
        self.assertRaises(TypeError, model.run, None, 7)

    def test_inputs_and_outputs_are_described(self):
        model = self.get(graph([node("Identity", ["x"], "y")], [port("x", INT64, ["batch", 3, None])],
                               [port("y", INT64, ["batch", 3, None])]))
        given = model.get_inputs()[0]
        self.assertEqual((given.name, given.shape, given.type), ("x", ["batch", 3, None], "tensor(int64)"))
        self.assertEqual([out.name for out in model.get_outputs()], ["y"])
        types = {FLOAT: "tensor(float)", DOUBLE: "tensor(double)", BOOL: "tensor(bool)", FLOAT16: "tensor(float16)"}
        for element, text in types.items():
            self.assertEqual(self.get(same(element), f"{element}.onnx").get_inputs()[0].type, text)

    def test_what_is_known_of_it_is_told_and_the_rest_is_none(self):
        path = self.write(doubling())
        model = self.pool.get_model("embedding", path)
        self.assertEqual(model.get_providers(), ["CPUExecutionProvider"])
        meta = model.get_modelmeta()
        self.assertEqual((meta.producer_name, meta.opset_version, meta.task), ("a test", 17, None))
        self.assertEqual((model.path, model.engine, model.device), (path, "onnxruntime", "cpu"))
        self.assertTrue(model.key.startswith(f"embedding:{path}@cpu"))
        self.assertFalse(model.is_simulated)
        self.assertTrue(model.memory_bytes is None or model.memory_bytes >= 0)
        self.assertIn(model.key, repr(model))
        self.assertIn("onnxruntime", repr(model))

    def test_it_is_not_moved_and_the_refusal_says_why(self):
        self.pool.get_model("embedding", "x", hardware_preferences={"engine": "simulated"})
        with self.assertRaisesRegex(resource_pool.UnsupportedError, "'embedding:x' to cpu: the engine 'simulated'"):
            self.pool.move_model_to_device("embedding", "x", "cpu")
        with self.assertRaises(resource_pool.NotFoundError):
            self.pool.move_model_to_device("embedding", "xy", "cpu")

    def test_a_simulated_model_says_so(self):
        model = self.pool.get_model("embedding", "x", hardware_preferences={"engine": "simulated"})
        self.assertTrue(model.is_simulated)
        self.assertIn("simulated", repr(model))
        self.assertNotIn("CPUExecutionProvider", model.get_providers())

    def test_models_are_made_by_pools_only(self):
        self.assertRaises(TypeError, resource_pool.Model)
        self.assertRaises(TypeError, resource_pool.Tensor)


class Tensors(Files):
    """Outputs without numpy."""

    def test_an_output_is_a_buffer_and_a_dlpack_array(self):
        program = """
import sys
sys.modules["numpy"] = None
import array, resource_pool
pool = resource_pool.ResourcePool(history="off", share="process")
model = pool.get_model("embedding", sys.argv[1])
out = model(memoryview(array.array("f", [1, 2, 3])).cast("B").cast("f", [1, 3]))
assert type(out) is resource_pool.Tensor, out
view = memoryview(out)
assert (view.tolist(), view.format, view.shape, view.strides) == ([[2, 4, 6]], "f", (1, 3), (12, 4)), view
assert (out.shape, out.dtype, out.nbytes, bytes(view[0:1])) == ((1, 3), "float32", 12, view.tobytes())
assert memoryview(model(out)).tolist() == [[4, 8, 12]]
assert out.__dlpack_device__() == (1, 0)
for capsule in (out.__dlpack__(), out.__dlpack__(max_version=(1, 0)), out.__dlpack__(max_version=(0, 8))):
    assert "dltensor" in repr(capsule)
for wrong in ({"copy": True}, {"dl_device": (2, 0)}):
    try:
        out.__dlpack__(**wrong)
    except BufferError:
        continue
    raise AssertionError(wrong)
try:
    model([[1, 2, 3]])
except resource_pool.ArgumentError as error:
    assert "'x' wants an array of float32" in str(error) and "numpy" in error.hint, (error, error.hint)
else:
    raise AssertionError("a list without numpy")
print(repr(out))
"""
        done = run_python(program, self.write(doubling()))
        self.assertEqual((done.returncode, done.stdout), (0, "<resource_pool.Tensor (1, 3) of float32>\n"), done.stderr)

    def tensor(self, values):
        """What is behind an array of numpy."""
        return self.get(same(FLOAT, ("n", "m")))(values).base.obj

    @needs_numpy
    def test_who_wants_the_first_dimension_compact_does_not_get_the_last(self):
        get_buffer = ctypes.pythonapi.PyObject_GetBuffer
        get_buffer.argtypes = [ctypes.py_object, ctypes.c_void_p, ctypes.c_int]
        fortran = 0x40 | 0x10 | 0x8
        wide = self.tensor(numpy.arange(6, dtype="f4").reshape(2, 3))
        flat = self.tensor(numpy.arange(3, dtype="f4").reshape(1, 3))
        view = (ctypes.c_char * 256)()  # larger than a Py_buffer
        with self.assertRaises(BufferError):
            get_buffer(wide, view, fortran)
        self.assertEqual(get_buffer(flat, view, fortran), 0)
        ctypes.pythonapi.PyBuffer_Release(view)

    @needs_numpy
    def test_dlpack_has_strides(self):
        tensor = self.tensor(numpy.arange(6, dtype="f4").reshape(2, 3))
        capsule = tensor.__dlpack__()
        self.assertEqual(list((ctypes.c_int64 * 2).from_address(managed_of(capsule).strides)), [3, 1])

    @needs_numpy
    def test_a_tensor_of_another_dlpack_is_not_read(self):
        words = (ctypes.c_uint64 * 16)(2)  # version 2.0
        name = ctypes.c_char_p(b"dltensor_versioned")
        make = ctypes.pythonapi.PyCapsule_New
        make.restype, make.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]

        class Newer:
            def __dlpack__(self):
                return make(ctypes.addressof(words), name, None)

        with self.assertRaisesRegex(resource_pool.ArgumentError, "DLPack 2.0"):
            self.get(doubling())(Newer())

    @needs_numpy
    def test_a_pool_is_not_closed_under_a_run(self):
        pool = ResourcePool(history="off", share="process")
        model = pool.get_model("embedding", self.write(sum_and_product()))
        told = []

        class Closing:
            def __init__(self, of):
                self.of = of

            def __dlpack__(self, **options):
                try:
                    pool.close()
                except resource_pool.BusyError as error:
                    told.append(str(error))
                return self.of.__dlpack__()

        ones = numpy.ones((1, 3), "f4")
        out = model(Closing(ones), Closing(ones))
        self.assertEqual((out["sum"].tolist(), out["product"].tolist()), ([[2, 2, 2]], [[1, 1, 1]]))
        self.assertEqual(told, ["calls of the pool are running"] * 2)
        pool.close()
        with self.assertRaises(resource_pool.StateError):
            model(ones, ones)

    @needs_numpy
    def test_dlpack_keeps_the_memory(self):
        model = self.get(same(BFLOAT16))
        words = numpy.uint16([0x3F80, 0x4000])

        class Halves:
            def __dlpack__(self, **options):
                return as_bfloat16(words)

        out = model(Halves())
        capsule = out.__dlpack__()
        pointer = pointer_of(capsule)
        del out
        gc.collect()
        self.assertEqual(list((ctypes.c_uint16 * 2).from_address(pointer)), [0x3F80, 0x4000])


class Managed(ctypes.Structure):
    """DLPack's DLManagedTensor."""

    _fields_ = [("data", ctypes.c_void_p), ("device_type", ctypes.c_int32), ("device_id", ctypes.c_int32),
                ("ndim", ctypes.c_int32), ("code", ctypes.c_uint8), ("bits", ctypes.c_uint8),
                ("lanes", ctypes.c_uint16), ("shape", ctypes.c_void_p), ("strides", ctypes.c_void_p),
                ("byte_offset", ctypes.c_uint64), ("context", ctypes.c_void_p), ("deleter", ctypes.c_void_p)]


def managed_of(capsule):
    get = ctypes.pythonapi.PyCapsule_GetPointer
    get.restype, get.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    return Managed.from_address(get(capsule, b"dltensor"))


def pointer_of(capsule):
    return managed_of(capsule).data


def as_bfloat16(words):
    """Their DLPack, under another type."""
    capsule = words.__dlpack__()
    managed_of(capsule).code = 4
    return capsule


class Holding(Files):
    """One object for each model, and who keeps it."""

    def test_it_is_the_same_object_while_it_lives(self):
        path = self.write(doubling())
        model = self.pool.get_model("embedding", path)
        self.assertIs(self.pool.get_model("embedding", path), model)
        with self.pool.lease_model("embedding", path) as leased:
            self.assertIs(leased, model)
        with self.pool.lease_model("embedding", path) as leased:
            lease = self.pool.lease_model("embedding", path)
            self.assertIs(lease.object, leased)
            lease.release()
        self.assertEqual(self.pool.get_stats()["misses"], 1)

    def test_a_lease_ends_with_the_last_reference(self):
        path = self.write(doubling())
        key = f"embedding:{path}"
        model = self.pool.get_model("embedding", path)
        seen = weakref.ref(model)
        self.assertEqual(sum(one["count"] for one in self.pool.get_resource_details(key)["leases"]), 1)
        self.assertEqual(self.pool.cleanup_unused_resources(0), 0)
        del model
        self.assertIsNone(seen())
        self.assertEqual(self.pool.get_resource_details(key)["leases"], [])
        self.assertEqual(self.pool.get_stats()["cached_models"], 1)
        self.assertEqual(self.pool.get_model("embedding", path).path, path)
        self.assertEqual(self.pool.get_stats()["hits"], 1)
        self.assertEqual(self.pool.cleanup_unused_resources(0), 1)
        self.assertEqual(self.pool.get_stats()["cached_models"], 0)

    def test_a_callback_at_its_end_may_use_the_pool(self):
        path = self.write(doubling())
        seen = []
        model = self.pool.get_model("embedding", path)
        watch = weakref.ref(model, lambda _: seen.append(self.pool.get_model("embedding", path)))
        del model
        self.assertIsNone(watch())
        self.assertEqual(seen[0].path, path)
        seen.clear()

    def test_the_pool_lists_models_of_engines(self):
        path = self.write(doubling())
        key = f"embedding:{path}"
        self.pool.get_model("embedding", path)  # dropped at once
        before = self.pool.get_stats()
        self.assertEqual(list(self.pool.models), [key])
        model = self.pool.models[key]
        self.assertIsInstance(model, resource_pool.Model)
        self.assertIs(self.pool.get_model("embedding", path), model)
        self.assertIs(self.pool.models[key], model)
        self.assertEqual((self.pool.resources, self.pool.tokenizers), ({}, {}))
        stats = self.pool.get_stats()
        self.assertEqual(stats["hits"], before["hits"] + 1)  # to look is no request
        self.assertEqual((stats["cached_models"], stats["total_requests"]), (1, 2))
        entry = stats["models"][key]
        self.assertEqual(entry["device"], "cpu")
        self.assertGreater(entry["load_ms"], 0)
        self.assertIn(key, self.pool._stats["creation_timestamps"])
        self.assertEqual(self.pool._stats[key]["hits"], 1)
        details = self.pool.get_resource_details(key)
        self.assertEqual((details["engine"], details["kind"], details["state"]), ("onnxruntime", "model", "loaded"))
        self.assertEqual(details["instance"], model.key)
        self.assertEqual(details["memory_bytes"], model.memory_bytes)
        self.assertTrue(details["memory_estimation_method"])
        self.assertNotIn("shared_bytes", details)
        self.assertEqual(sum(one["count"] for one in details["leases"]), 1)
        self.assertEqual(self.pool.get_resource_details(model.key)["key"], key)

    def test_a_device_of_its_own_is_in_the_key_unless_others_came_there_too(self):
        path = self.write(doubling())
        self.pool.get_model("embedding", path, hardware_preferences={"device": "cpu"})
        self.assertEqual(list(self.pool.models), [f"embedding:{path}@cpu"])
        self.pool.get_model("embedding", path)
        self.assertEqual(list(self.pool.models), [f"embedding:{path}"])

    def test_files_and_objects_are_listed_together(self):
        path = self.write(doubling())
        made = self.pool.get_model("embedding", "made", constructor=lambda: [1])
        model = self.pool.get_model("embedding", path)
        self.assertEqual(dict(self.pool.models), {"embedding:made": made, f"embedding:{path}": model})
        self.assertEqual(self.pool.get_stats()["cached_models"], 2)

    def test_what_is_cleared_runs_on_and_is_loaded_anew(self):
        path = self.write(doubling(shape=(3,)))
        old = self.pool.get_model("embedding", path)
        self.pool.clear()
        self.assertEqual(dict(self.pool.models), {})
        fresh = self.pool.get_model("embedding", path)
        self.assertIsNot(fresh, old)
        for model in (old, fresh):
            self.assertEqual(memoryview(model(array.array("f", [1, 2, 3]))).tolist(), [2, 4, 6])
        del old, model
        self.assertIs(self.pool.get_model("embedding", path), fresh)

    def test_a_pool_closes_over_its_models_which_then_say_so(self):
        model = self.get(doubling())
        self.pool.close()
        for use in (model, model.get_inputs, lambda: model.path, lambda: model.key):
            self.assertIn("closed", self.refuses(use, error=resource_pool.StateError))
        self.assertIn("closed", repr(model))

    def test_a_pool_with_a_lease_out_stays_open_and_so_do_its_models(self):
        model = self.get(doubling(shape=(3,)))
        with self.pool.lease_model("embedding", model.path):
            self.assertRaises(resource_pool.BusyError, self.pool.close)
            self.assertEqual(memoryview(model(array.array("f", [1, 2, 3]))).tolist(), [2, 4, 6])
        self.pool.close()

    def test_room_is_made_of_models_that_nobody_has(self):
        pool = ResourcePool(history="off", share="process", budget="100MiB")

        def get(name):
            return pool.get_model("embedding", f"{name}?memory_bytes=40MiB",
                                  hardware_preferences={"engine": "simulated"})

        for i in range(30):
            held = get(f"a{i}")
        other = get("b")
        self.assertRaises(resource_pool.CapacityError, get, "c")
        circle = [held]
        circle.append(circle)
        del held, circle
        self.assertEqual(get("c").key, "embedding:c?memory_bytes=40MiB@cpu")
        self.assertTrue(other.key)

    def test_a_child_is_told_that_it_is_the_parents(self):
        program = """
import array, os, sys, resource_pool
pool = resource_pool.ResourcePool(history="off", share="process")
model = pool.get_model("embedding", sys.argv[1])
pid = os.fork()
if pid == 0:
    try:
        model(array.array("f", [1, 2, 3]))
    except resource_pool.ForkedError as error:
        assert "parent" in str(error), error
        del model
        own = resource_pool.get_global_resource_pool().get_model("embedding", sys.argv[1])
        print(memoryview(own(array.array("f", [1, 2, 3]))).tolist())
    sys.exit()
assert os.waitpid(pid, 0)[1] == 0
print(memoryview(model(array.array("f", [1, 2, 3]))).tolist())
"""
        done = run_python(program, self.write(doubling(shape=(3,))), RESOURCE_POOL_HISTORY="off")
        self.assertEqual((done.returncode, done.stdout.splitlines()[-1:]), (0, ["[2.0, 4.0, 6.0]"]), done.stderr)
        self.assertEqual(done.stdout.count("[2.0, 4.0, 6.0]"), 2, done.stderr)

    def test_the_interpreter_ends_with_models_and_results_alive(self):
        program = """
import array, sys, threading, resource_pool
model = resource_pool.get_global_resource_pool().get_model("embedding", sys.argv[1])
sys.kept = [model, model(array.array("f", [1, 2, 3]))]
sys.kept.append(sys.kept)
go = threading.Event()
def work():
    while True:
        model(array.array("f", [1, 2, 3]))
        go.set()
threading.Thread(target=work, daemon=True).start()
go.wait()
"""
        done = run_python(program, self.write(doubling(shape=(3,))), RESOURCE_POOL_HISTORY="off")
        self.assertEqual((done.returncode, done.stderr), (0, ""))


class Finding(Files):
    def test_a_folder_is_what_is_in_it(self):
        path = pathlib.Path(self.write(doubling(shape=(3,)), "folder/model.onnx"))
        (path.parent / "config.json").write_text(json.dumps({"model_type": "bert", "architectures": ["BertModel"]}))
        model = self.pool.get_model("embedding", str(path.parent))
        self.assertEqual(memoryview(model(array.array("f", [1, 2, 3]))).tolist(), [2, 4, 6])
        self.assertEqual(model.path, str(path))

    def test_a_name_that_is_no_file_tells_both_ways_out(self):
        for name in ("bert-base-uncased", str(self.folder / "missing.onnx")):
            said = self.refuses(self.pool.get_model, "embedding", name, error=resource_pool.NotFoundError)
            self.assertIn(f"'embedding:{name}' is loaded, and there is no constructor", said)
            self.assertIn("give a constructor", said)
            self.assertIn("the path of a model's file", said)

    def test_what_no_engine_can_load_is_told_with_the_reason(self):
        get = self.pool.get_model
        damaged = self.write(doubling()[:40], "damaged.onnx")
        self.assertIn(damaged, self.refuses(get, "embedding", damaged, error=resource_pool.ResourcePoolError))
        empty = self.write(b"", "empty.onnx")
        self.assertIn("empty", self.refuses(get, "embedding", empty, error=resource_pool.DataError))
        gguf = self.write(b"GGUF" + bytes(60), "model.gguf")
        self.assertIn(gguf, self.refuses(get, "text", gguf, error=resource_pool.ResourcePoolError))
        bare = self.folder / "bare"
        bare.mkdir()
        self.assertIn("bare", self.refuses(get, "text", str(bare), error=resource_pool.ResourcePoolError))
        self.assertEqual(self.pool.get_stats()["cached_models"], 0)

    def test_whether_a_file_is_shared_is_the_pools_choice(self):
        path = self.write(doubling())
        said = self.refuses(self.pool.get_model, "embedding", path, share="machine",
                            error=resource_pool.UnsupportedError)
        self.assertIn("share='machine'", said)
        self.assertEqual(self.pool.get_stats()["cached_models"], 0)
        model = self.pool.get_model("embedding", path, share="process")
        self.refuses(self.pool.get_model, "embedding", path, share="machine", error=resource_pool.UnsupportedError)
        self.assertTrue(model.key)

    def test_a_file_and_a_constructor_are_an_object(self):
        path = self.write(doubling())
        self.assertEqual(self.pool.get_model("embedding", path, constructor=lambda: "mine"), "mine")


class Leaking(Files):
    """Counted in blocks of the interpreter and in resident memory."""

    def grown(self, step, count):
        def resident():
            return int(pathlib.Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")

        for _ in range(count // 10):
            step()
        gc.collect()
        blocks, memory = sys.getallocatedblocks(), resident()
        for _ in range(count):
            step()
        gc.collect()
        return sys.getallocatedblocks() - blocks, resident() - memory

    def check(self, step, count):
        blocks, memory = self.grown(step, count)
        self.assertLess(blocks, count // 10)
        self.assertLess(memory, 4 << 20)

    def test_100_000_runs_leave_nothing(self):
        model = self.get(doubling(shape=(3,)))
        given = array.array("f", [1, 2, 3])
        self.check(lambda: model(given), 100_000)

    @needs_numpy
    def test_runs_on_all_kinds_of_inputs_leave_nothing(self):
        model = self.get(sum_and_product())
        a = numpy.ones((3, 1), "float32").T
        packed = Packed(numpy.ones((1, 3), "float32"))

        def step():
            model.run(["product"], {"a": packed, "b": [[1, 2, 3]]})
            model(a, b=packed)["sum"].__dlpack__()
            for wrong in ({"a": a}, {"a": a, "b": "text"}, {"a": a, "b": [["x"]]}, {"a": a, "c": a}):
                try:
                    model(wrong)
                except resource_pool.ArgumentError:
                    pass

        self.check(step, 2_000)

    def test_100_000_gets_leave_nothing(self):
        path = self.write(doubling(shape=(3,)))
        self.check(lambda: self.pool.get_model("embedding", path), 100_000)
        kept = self.pool.get_model("embedding", path)
        self.check(lambda: self.pool.get_model("embedding", path), 20_000)
        self.check(lambda: self.pool.models, 2_000)
        self.assertTrue(kept.key)


@needs_broker
class Sharing(Files):
    """Through a broker of this test's own."""

    CLIENT = """
import array, json, sys, resource_pool
pool = resource_pool.ResourcePool(history="off", share="machine")
model = None
for line in sys.stdin:
    word = line.strip()
    try:
        if word == "get":
            model = pool.get_model("embedding", sys.argv[1])
            print(json.dumps([model.key, model.engine, model.path]), flush=True)
        elif word == "drop":
            model = None
            print(json.dumps(list(pool.models)), flush=True)
        elif word == "run":
            print(json.dumps(memoryview(model(array.array("f", [1, 2, 3]))).tolist()), flush=True)
        elif word == "list":
            print(json.dumps([list(pool.models), all(m is model for m in pool.models.values())]), flush=True)
    except resource_pool.ResourcePoolError as error:
        print(json.dumps({"status": error.status, "message": str(error)}), flush=True)
"""

    def setUp(self):
        super().setUp()
        self.environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "RESOURCE_POOL_RPOOL": str(RPOOL),
                            "RESOURCE_POOL_BROKER": str(self.folder / "broker"), "RESOURCE_POOL_HISTORY": "off",
                            "HARDWARE_DETECTION_CACHE": "off"}
        self.addCleanup(self.call, "stop")

    def call(self, *words):
        return subprocess.run([str(RPOOL), *words], text=True, capture_output=True, timeout=60, check=False,
                              env=self.environment)

    def client(self, path):
        process = subprocess.Popen([sys.executable, "-c", self.CLIENT, path], text=True, stdin=subprocess.PIPE,
                                   stdout=subprocess.PIPE, env=self.environment)

        def end():
            process.stdin.close()
            process.wait(60)
            process.stdout.close()

        self.addCleanup(end)

        def ask(word):
            process.stdin.write(word + "\n")
            process.stdin.flush()
            return json.loads(process.stdout.readline())

        return ask

    def status(self):
        done = self.call("status", "--json")
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout)

    def workers(self):
        """The processes that hold models, as the system has them."""
        broker = self.status()["broker"]["pid"]
        found = []
        for task in pathlib.Path(f"/proc/{broker}/task").iterdir():
            found += (task / "children").read_text().split()
        return [int(pid) for pid in found]

    def test_two_processes_have_one_load_and_the_right_answers(self):
        path = self.write(doubling(shape=(3,)))
        own = memoryview(self.pool.get_model("embedding", path)(array.array("f", [1, 2, 3]))).tolist()
        first, second = self.client(path), self.client(path)
        for ask in (first, second):
            self.assertEqual(ask("get")[1:], ["onnxruntime", path])
            self.assertEqual(ask("run"), own)
            self.assertEqual(ask("list"), [[f"embedding:{path}"], True])
        self.assertEqual(len(self.workers()), 1)

    def test_a_worker_that_was_killed_is_told_and_the_next_get_loads_again(self):
        path = self.write(doubling(shape=(3,)))
        ask, other = self.client(path), self.client(path)
        for one in (ask, other):
            one("get")
            self.assertEqual(one("run"), [2, 4, 6])
        worker, = self.workers()
        os.kill(worker, signal.SIGKILL)
        for one in (ask, other):
            said = one("run")
            self.assertIn(said["status"], ("run", "memory"))
            self.assertRegex(said["message"], "SIGKILL|killed")
        self.assertEqual(one("list")[0], [])
        for one in (ask, other):  # the dead one is still referred to
            self.assertEqual(one("get")[1], "onnxruntime")
            self.assertEqual(one("run"), [2, 4, 6])
        self.assertNotEqual(self.workers(), [worker])

    def test_a_worker_that_died_unnoticed_is_noticed_by_the_next_get(self):
        path = self.write(doubling(shape=(3,)))
        ask = self.client(path)
        ask("get")
        worker, = self.workers()
        os.kill(worker, signal.SIGKILL)
        while worker in self.workers():
            pass
        self.assertEqual(ask("get")[1], "onnxruntime")
        self.assertEqual(ask("run"), [2, 4, 6])

    def test_a_model_that_was_dropped_is_had_again(self):
        path = self.write(doubling(shape=(3,)))
        ask = self.client(path)
        ask("get")
        self.assertEqual(ask("drop"), [])
        ask("get")
        self.assertEqual(ask("run"), [2, 4, 6])
        self.assertEqual(len(self.workers()), 1)


if __name__ == "__main__":
    unittest.main()
