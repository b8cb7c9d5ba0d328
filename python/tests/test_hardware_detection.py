# SPDX-License-Identifier: Apache-2.0
"""hardware_detection: every key, on this machine and on the composed ones of tests/machines."""

import contextlib
import io
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import threading
import time
import unittest
from unittest import mock

import hardware_detection
import resource_pool.hardware_detection
from hardware_detection import (
    CPU, CUDA, MPS, OPENVINO, QUALCOMM, ROCM, TPU, WEBGPU, WEBNN,
    HardwareDetector, detect_available_hardware, detect_browser_features,
    detect_hardware_with_comprehensive_checks, get_hardware_priority_list,
    get_model_hardware_compatibility, get_recommended_device, is_hardware_simulated,
)

MACHINES = pathlib.Path(__file__).resolve().parents[2] / "tests" / "machines"
KINDS = (CPU, CUDA, ROCM, MPS, OPENVINO, QUALCOMM, TPU, WEBNN, WEBGPU)
WEB_VARIABLES = [f"{name}_{ending}" for name in ("WEBNN", "WEBGPU")
                 for ending in ("SIMULATION", "SIMULATION_ENABLED", "AVAILABLE")]

_elsewhere = tempfile.TemporaryDirectory()


def setUpModule():
    """In an empty folder: a file that is called like a model would be taken for it."""
    unittest.addModuleCleanup(_elsewhere.cleanup)
    unittest.addModuleCleanup(os.chdir, os.getcwd())
    os.chdir(_elsewhere.name)



def on(machine=None, **more):
    """The environment in which the machine is that of a file; without one, this machine."""
    kept = {name: value for name, value in os.environ.items()
            if name not in WEB_VARIABLES and name != "RESOURCE_POOL_SIMULATE"}
    kept.setdefault("HARDWARE_DETECTION_CACHE", "off")
    if machine:
        kept["RESOURCE_POOL_SIMULATE"] = str(MACHINES / f"{machine}.json")
    return mock.patch.dict(os.environ, {**kept, **more}, clear=True)


def machines():
    return sorted(each.stem for each in MACHINES.glob("*.json"))


class Shapes(unittest.TestCase):
    """Keys and their types, whatever the machine."""

    def check_kinds(self, flags):
        self.assertEqual(set(flags), set(KINDS))
        for value in flags.values():
            self.assertIs(type(value), bool)

    def check_nested(self, info):
        for key in ("hardware", "real_hardware", "simulated_hardware"):
            self.check_kinds(info[key])
        for kind in KINDS:
            is_there = info["hardware"][kind]
            self.assertEqual(is_there, info["real_hardware"][kind] or info["simulated_hardware"][kind])
            self.assertFalse(info["real_hardware"][kind] and info["simulated_hardware"][kind])
            details = info["details"][kind]
            self.assertIsInstance(details, dict)
            if not is_there:
                self.assertTrue(details["reason"], kind)
                self.assertIsInstance(details["reason"], str)
        for kind, why in info["errors"].items():
            self.assertIn(kind, KINDS)
            self.assertFalse(info["hardware"][kind])
            self.assertTrue(why)
        self.assertIn(info["best_available"], KINDS)
        self.assertTrue(info["hardware"][info["best_available"]])
        self.assertRegex(info["torch_device"], r"\A(cpu|mps|cuda:\d+)\Z")
        json.dumps(info)

    def check_flat(self, info):
        for kind in KINDS:
            self.assertIs(info["qnn" if kind == QUALCOMM else kind], info["hardware"][kind])
        system = info["system"]
        for key in ("os", "os_version", "platform", "python_version"):
            self.assertIsInstance(system[key], str)
        for key in ("architecture", "processor"):
            self.assertIsInstance(system.get(key, ""), str)
        for key in ("cpu_count", "total_memory", "available_memory"):
            self.assertIsInstance(system.get(key, 1), int)
        self.assertAlmostEqual(info["timestamp"], time.time(), delta=60)
        for kind, key in ((CUDA, "cuda_info"), (ROCM, "rocm_info"), (MPS, "mps_info"),
                          (OPENVINO, "openvino_info"), (QUALCOMM, "qnn_info"),
                          (WEBNN, "webnn_info"), (WEBGPU, "webgpu_info")):
            self.assertEqual(key in info, info["hardware"][kind], key)

    def check_details(self, info):
        cpu = info["details"][CPU]
        self.assertEqual(cpu["memory"]["unit"], "MB")
        for key in ("architecture", "processor", "system", "python_version"):
            self.assertIsInstance(cpu.get(key, ""), str)
        for key in ("sse_support", "avx_support", "avx2_support"):
            self.assertIsInstance(cpu.get(key, True), bool)
        for kind in (CUDA, ROCM):
            if info["hardware"][kind]:
                self.check_gpus(info["details"][kind])
        for kind in (WEBNN, WEBGPU):
            web = info["details"][kind]
            self.assertIn(web["environment"], ("browser", "none"))
            self.assertIn(web["mode"], ("real", "simulation", "unavailable"))
            self.assertIs(type(web["simulation_enabled"]), bool)
            self.assertIs(web["runtime_available"], info["real_hardware"][kind])
            self.assertIsInstance(web["reason"], str)

    def check_gpus(self, details):
        self.assertEqual(details["device_count"], len(details["devices"]))
        self.assertGreater(details["device_count"], 0)
        for each in details["devices"]:
            self.assertIsInstance(each.get("name", ""), str)
            self.assertIsInstance(each.get("total_memory", 1.0), float)
            self.assertGreater(each.get("total_memory", 1.0), 0)
            self.assertIsInstance(each.get("has_tensor_cores", True), bool)
            self.assertIsInstance(each.get("multi_processor_count", 1), int)
            if "capability" in each:
                both = (each["compute_capability_major"], each["compute_capability_minor"])
                self.assertEqual("{}.{}".format(*both), each["capability"])

    def check(self, info):
        self.check_nested(info)
        self.check_flat(info)
        self.check_details(info)

    def test_this_machine(self):
        with on():
            info = detect_available_hardware()
        self.check(info)
        self.assertTrue(info["cpu"])
        self.assertTrue(info["real_hardware"][CPU])
        self.assertFalse(info["simulated"])
        self.assertGreater(info["system"]["total_memory"], 64)
        self.assertGreaterEqual(info["details"][CPU]["cores"]["logical"], 1)

    @unittest.skipUnless(MACHINES.is_dir(), "the composed machines are in the source tree")
    def test_every_composed_machine(self):
        self.assertGreater(len(machines()), 20)
        for machine in machines():
            with self.subTest(machine), on(machine):
                info = detect_available_hardware()
                self.check(info)
                self.assertTrue(info["simulated"])
                self.assertFalse(any(info["real_hardware"].values()))

    def test_none_is_nowhere(self):
        """What is not known is left out: callers do arithmetic on what is there."""
        def walk(value, where):
            self.assertIsNotNone(value, where)
            for key, each in value.items() if isinstance(value, dict) else ():
                if key != "snapshot":
                    walk(each, f"{where}.{key}")
            for number, each in enumerate(value if isinstance(value, list) else ()):
                walk(each, f"{where}[{number}]")
        for machine in [None, *machines()]:
            with on(machine):
                walk(detect_available_hardware(), str(machine))


@unittest.skipUnless(MACHINES.is_dir(), "the composed machines are in the source tree")
class Machines(unittest.TestCase):
    """What is told of the machines whose content is known."""

    def look(self, machine, **arguments):
        with on(machine):
            return detect_available_hardware(**arguments)

    def test_eight_cards_of_nvidia(self):
        info = self.look("8xh100")
        cuda = info["details"][CUDA]
        self.assertEqual(cuda["device_count"], 8)
        self.assertEqual(cuda["cuda_version"], "12.4")
        first = cuda["devices"][0]
        self.assertEqual(first["name"], "NVIDIA H100 80GB HBM3")
        self.assertEqual((first["compute_capability_major"], first["compute_capability_minor"]), (9, 0))
        self.assertTrue(first["has_tensor_cores"])
        self.assertEqual(first["multi_processor_count"], 132)
        self.assertAlmostEqual(first["total_memory"], 79.6, delta=0.1)
        self.assertEqual(info["best_available"], CUDA)
        self.assertEqual(info["torch_device"], "cuda:0")
        flat = info["cuda_info"]["devices"][0]
        self.assertAlmostEqual(flat["total_memory"], first["total_memory"] * 1024, delta=10)
        self.assertEqual(flat["compute_capability"], "9.0")
        self.assertEqual(info["details"][CPU]["cores"], {"logical": 224, "physical": 112, "allowed": 224})

    def test_the_preferred_card(self):
        info = self.look("8xh100", preferred_device_index=5)
        self.assertEqual(info["torch_device"], "cuda:5")
        self.assertEqual(info["preferred_device_index"], 5)
        self.assertEqual(self.look("8xh100", preferred_device_index=99)["best_available"], CUDA)

    def test_a_priority_list(self):
        info = self.look("8xh100", priority_list=["mps", "cpu", "cuda"])
        self.assertEqual(info["best_available"], CPU)
        self.assertEqual(info["torch_device"], "cpu")
        self.assertEqual(info["priority_list"], ["mps", "cpu", "cuda"])
        self.assertNotIn("priority_list", self.look("8xh100"))

    def test_torch_calls_cards_of_amd_cuda(self):
        info = self.look("8xmi300x")
        self.assertEqual(info["best_available"], ROCM)
        self.assertEqual(info["torch_device"], "cuda:0")
        self.assertEqual(info["details"][ROCM]["device_count"], 8)
        self.assertIn("hip_version", info["rocm_info"])

    def test_apple(self):
        info = self.look("m3")
        self.assertEqual((info["best_available"], info["torch_device"]), (MPS, "mps"))
        self.assertEqual(info["details"][MPS]["device"], "Apple M3")
        self.assertGreater(info["details"][MPS]["total_memory_bytes"], 1 << 30)
        self.assertIs(info["mps_info"]["is_built"], True)
        self.assertFalse(info["details"][CPU]["avx_support"])

    def test_openvino(self):
        info = self.look("arc-npu")
        openvino = info["details"][OPENVINO]
        self.assertEqual(openvino["available_devices"], ["CPU", "GPU.0", "GPU.1", "NPU"])
        self.assertEqual(openvino["version"], "2025.3.0")
        self.assertEqual(set(openvino["device_info"]), set(openvino["available_devices"]))
        for name, each in openvino["device_info"].items():
            self.assertEqual(each["name"], name)
        self.assertEqual(info["openvino_info"]["available_devices"], openvino["available_devices"])
        self.assertIn("chromium", info["errors"][WEBNN])

    def test_qualcomm_and_tpu(self):
        info = self.look("snapdragon-x")
        self.assertTrue(info["qnn"])
        self.assertEqual(info["details"][QUALCOMM]["backend"], "qnn")
        self.assertEqual(info["qnn_info"]["qnn_sdk"], "2.37.1")
        self.assertTrue(self.look("tpu-v5e")["tpu"])

    def test_a_browser(self):
        info = self.look("browser-only")
        web = info["details"][WEBGPU]
        self.assertEqual((web["environment"], web["mode"]), ("browser", "simulation"))
        self.assertEqual(info["webnn_info"], {"simulation": True, "type": "cpu", "version": "141.0.7390.54"})
        self.assertEqual(info["best_available"], CPU)

    def test_errors_are_what_is_there_and_fails(self):
        self.assertIn("internal error", self.look("broken-driver")["errors"][CUDA])
        self.assertIn("different versions", self.look("driver-mismatch")["errors"][CUDA])
        self.assertIn("nouveau", self.look("nouveau")["errors"][CUDA])
        self.assertEqual(self.look("laptop")["errors"], {})
        info = self.look("broken-driver")
        self.assertFalse(info["cuda"])
        self.assertEqual(info["best_available"], CPU)


class Simulation(unittest.TestCase):
    """Real and simulated are told apart."""

    def test_each_variable(self):
        for variable in WEB_VARIABLES:
            kind = variable.partition("_")[0].lower()
            with self.subTest(variable), on(None, CHROME_PATH="off", **{variable: "1"}):
                info = detect_available_hardware()
                self.assertTrue(info["hardware"][kind])
                self.assertTrue(info["simulated_hardware"][kind])
                self.assertFalse(info["real_hardware"][kind])
                web = info["details"][kind]
                self.assertEqual((web["environment"], web["mode"]), ("none", "simulation"))
                self.assertTrue(web["simulation_enabled"])
                self.assertTrue(info[f"{kind}_info"]["simulation"])
                self.assertTrue(is_hardware_simulated(kind))
                means_the_same = any(variable in note for note in info["notes"])
                self.assertEqual(means_the_same, not variable.endswith("_SIMULATION"))

    def test_a_simulated_device_is_not_the_best(self):
        with on(None, CHROME_PATH="off", WEBGPU_SIMULATION="1"):
            info = detect_available_hardware(priority_list=["webgpu", "cpu"])
        self.assertNotEqual(info["best_available"], WEBGPU)

    def test_off_is_off(self):
        with on(None, CHROME_PATH="off", WEBGPU_SIMULATION="0", WEBNN_SIMULATION=""):
            info = detect_available_hardware()
            self.assertFalse(info["webgpu"] or info["webnn"])
            self.assertFalse(is_hardware_simulated("webgpu"))
            self.assertFalse(is_hardware_simulated("cpu"))

    def test_a_file_that_is_not_there(self):
        with on("no-such-machine"):
            with self.assertRaises(LookupError) as caught:
                detect_available_hardware()
        self.assertIn("no-such-machine", str(caught.exception))
        self.assertTrue(caught.exception.hint)

    def test_a_damaged_file(self):
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            file.write('{"version": 1, "devices": 7}')
            file.flush()
            with on(None, RESOURCE_POOL_SIMULATE=file.name), self.assertRaises(Exception) as caught:
                HardwareDetector()
        self.assertEqual(caught.exception.status, "data")


class Cache(unittest.TestCase):
    """The file that keeps what slow runtimes said."""

    def test_a_strangers_file_stays(self):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder, "hardware.json")
            path.write_text("not a cache\n")
            with on():
                for use_cache in (True, False):
                    info = detect_available_hardware(cache_file=path, use_cache=use_cache)
                    self.assertTrue(info["cpu"])
                detect_available_hardware(str(path), force_refresh=True)
            self.assertEqual(path.read_text(), "not a cache\n")

    def test_a_damaged_one_is_told_of(self):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder, "hardware.json")
            path.write_text('{"resourcepool_hardware_cache": 1, "broken": ')
            with on():
                self.assertTrue(detect_available_hardware(path)["cpu"])

    def test_what_a_browser_says_is_kept(self):
        """The stand-in hangs up at once: that is an answer, kept for some time."""
        with tempfile.TemporaryDirectory() as folder:
            browser = pathlib.Path(folder, "chromium")
            asked = pathlib.Path(folder, "asked")
            browser.write_text(f"#!/bin/sh\necho once >> '{asked}'\nexit 1\n")
            browser.chmod(0o755)
            cache = os.path.join(folder, "cache.json")
            with on(None, CHROME_PATH=str(browser)):
                first = detect_available_hardware(cache_file=cache)
                self.assertTrue(os.path.exists(cache))
                times = len(asked.read_text().split())
                self.assertGreater(times, 0)
                again = detect_available_hardware(cache_file=cache)
                self.assertEqual(len(asked.read_text().split()), times)
                self.assertEqual(first["errors"][WEBGPU], again["errors"][WEBGPU])
                self.assertTrue(any("cache" in note or "ago" in note for note in again["notes"]), again["notes"])
                detect_available_hardware(cache_file=cache, force_refresh=True)
                self.assertGreater(len(asked.read_text().split()), times)
                times = len(asked.read_text().split())
                detect_available_hardware(cache_file=cache, use_cache=False)
                self.assertGreater(len(asked.read_text().split()), times)


class Detector(unittest.TestCase):
    """Each method of the class."""

    def make(self, machine=None, **arguments):
        with on(machine):
            return HardwareDetector(**arguments)

    def test_it_says_what_the_function_says(self):
        detector = self.make("4xa10g")
        with on("4xa10g"):
            info = detect_available_hardware()
        self.assertEqual(detector.get_available_hardware(), info["hardware"])
        self.assertEqual(detector.get_hardware_details(), info["details"])
        self.assertEqual(detector.get_errors(), info["errors"])
        self.assertEqual(detector.get_best_available_hardware(), info["best_available"])
        self.assertEqual(detector.get_torch_device(), info["torch_device"])
        self.assertTrue(detector.is_available(CUDA))
        self.assertFalse(detector.is_available("qnn"))
        self.assertEqual(len(detector.snapshot["devices"]), 5)

    def test_answers_are_copies(self):
        detector = self.make()
        detector.get_available_hardware().clear()
        self.assertTrue(detector.get_available_hardware()[CPU])

    def test_a_device_with_its_number(self):
        detector = self.make("4xa10g")
        self.assertEqual(detector.get_device_with_index(CUDA, 3), "cuda:3")
        self.assertEqual(detector.get_device_with_index(CUDA), "cuda:0")
        self.assertEqual(detector.get_device_with_index(CPU), "cpu")
        with self.assertRaises(IndexError):
            detector.get_device_with_index(CUDA, 4)
        with self.assertRaises(resource_pool.AbsentError) as caught:
            detector.get_device_with_index(MPS)
        self.assertEqual(caught.exception.status, "absent")
        self.assertIn("macOS", str(caught.exception))
        self.assertEqual(self.make("arc-npu").get_device_with_index(OPENVINO, 3), "openvino:NPU")
        self.assertEqual(self.make("8xmi300x").get_device_with_index(ROCM, 2), "cuda:2")

    def test_priorities(self):
        detector = self.make("4xa10g")
        self.assertEqual(detector.get_hardware_by_priority(), CUDA)
        self.assertEqual(detector.get_hardware_by_priority(["mps", "cpu"]), CPU)
        self.assertEqual(detector.get_torch_device_with_priority(["cuda", "cpu"], 2), "cuda:2")
        self.assertEqual(detector.get_torch_device_with_priority(["cpu"]), "cpu")
        self.assertEqual(self.make("arc-npu").get_hardware_by_priority(["openvino", "cpu"]), OPENVINO)
        self.assertEqual(self.make("browser-only").get_hardware_by_priority(("webgpu", "cpu")), WEBGPU)

    def test_kinds_that_would_do(self):
        detector = self.make("4xa10g")
        self.assertEqual(detector.get_compatible_hardware_types(), [CUDA, CPU])
        self.assertEqual(detector.get_compatible_hardware_types("bert-base-uncased"), [CUDA, CPU])
        wishes = {"model_name": "meta-llama/Llama-2-70b", "precision": "fp16"}
        self.assertNotIn(CUDA, detector.get_compatible_hardware_types(wishes))
        wishes = {"hw_compatibility": {"cuda": {"compatible": False}}}
        self.assertEqual(detector.get_compatible_hardware_types(wishes), [CPU])
        self.assertIn(WEBGPU, self.make("browser-only").get_compatible_hardware_types({"model_family": "vision"}))
        with self.assertRaises(TypeError):
            detector.get_compatible_hardware_types(7)

    def test_the_summary(self):
        for machine, words in (("4xa10g", ("cuda: yes (simulated)", "best: cuda:0", "rocm: no")),
                               ("broken-driver", ("error: cuda", "best: cpu"))):
            for detailed in (False, True):
                out = io.StringIO()
                with contextlib.redirect_stdout(out):
                    self.assertIsNone(self.make(machine).print_summary(detailed=detailed))
                for word in words:
                    self.assertIn(word, out.getvalue())

    def test_it_looks_again(self):
        detector = self.make("4xa10g")
        with on("m3"):
            detector.refresh()
        self.assertEqual(detector.get_torch_device(), "mps")


class Functions(unittest.TestCase):
    def test_comprehensive_checks(self):
        with on("8xh100"):
            self.assertEqual(detect_hardware_with_comprehensive_checks()["torch_device"], "cuda:0")

    def test_which_kinds_run_a_model(self):
        bert = get_model_hardware_compatibility("bert-base-uncased")
        self.assertEqual(set(bert), set(KINDS))
        self.assertTrue(all(value is True for value in bert.values()))
        whisper = get_model_hardware_compatibility("openai/whisper-tiny")
        self.assertEqual((whisper[CUDA], whisper[WEBNN], whisper[WEBGPU]), (True, False, False))
        llava = get_model_hardware_compatibility("llava-hf/llava-1.5-7b-hf")
        self.assertEqual([kind for kind in KINDS if llava[kind]], [CPU, CUDA])
        llama = get_model_hardware_compatibility("meta-llama/Llama-2-7b")
        self.assertEqual((llama[CUDA], llama[WEBGPU]), (True, False))
        named = get_model_hardware_compatibility("acme/thing", "audio")
        self.assertEqual((named[CPU], named[WEBGPU]), (True, False))

    def test_the_answer_is_not_of_this_machine(self):
        answers = []
        for machine in (None, "m3", "8xh100"):
            with on(machine):
                answers.append((get_model_hardware_compatibility("gpt2"), get_hardware_priority_list()))
        self.assertEqual(answers, answers[:1] * 3)

    def test_the_order_of_kinds(self):
        self.assertEqual(get_hardware_priority_list("embedding"), [CUDA, ROCM, MPS, CPU])
        self.assertEqual(get_hardware_priority_list("vision")[:2], [CUDA, MPS])
        self.assertEqual(get_hardware_priority_list("my own type", "bert-base-uncased")[0], CUDA)
        self.assertEqual(get_hardware_priority_list()[-1], CPU)

    def test_a_device_for_a_model(self):
        with on("4xa10g"):
            # The emptiest of the four.
            self.assertEqual(get_recommended_device("embedding", "bert-base-uncased"), "cuda:2")
            self.assertEqual(get_recommended_device("strange"), "cuda:2")
        with on("laptop"):
            self.assertEqual(get_recommended_device("embedding", "bert-base-uncased"), "cpu")
            with self.assertRaises(resource_pool.CapacityError) as caught:
                get_recommended_device("text_generation", "meta-llama/Llama-2-70b")
        self.assertTrue(caught.exception.hint)

    def test_browsers(self):
        with on("browser-only"):
            told = detect_browser_features()
        self.assertFalse(told["running_in_browser"])
        self.assertTrue(told["webnn"] and told["webgpu"])
        chromium = told["browsers"]["chromium"]
        self.assertTrue(chromium["webnn"] and chromium["webgpu"] and chromium["simulation"])
        with on("arc-npu"):
            told = detect_browser_features()
        self.assertEqual((told["webnn"], told["webgpu"]), (False, True))
        with on(None, CHROME_PATH="off"):
            told = detect_browser_features()
        self.assertEqual((told["webnn"], told["browsers"]), (False, {}))


class Misuse(unittest.TestCase):
    def test_wrong_types(self):
        for call in (
            lambda: detect_available_hardware(cache_file=7),
            lambda: detect_available_hardware(cache_file=b"bytes"),
            lambda: detect_available_hardware(priority_list="cuda"),
            lambda: detect_available_hardware(priority_list=[None]),
            lambda: detect_available_hardware(priority_list=7),
            lambda: detect_available_hardware(preferred_device_index="0"),
            lambda: detect_available_hardware(preferred_device_index=True),
            lambda: detect_available_hardware(preferred_device_index=1.0),
            lambda: HardwareDetector(cache_file=[]),
            lambda: HardwareDetector().is_available(None),
            lambda: get_model_hardware_compatibility(None),
            lambda: get_model_hardware_compatibility("gpt2", 7),
            lambda: get_recommended_device(7),
            lambda: get_recommended_device("embedding", 7),
            lambda: get_hardware_priority_list([]),
            lambda: is_hardware_simulated(None),
        ):
            with on(), self.assertRaises(TypeError):
                call()

    def test_unknown_kinds_are_named(self):
        for call in (
            lambda: detect_available_hardware(priority_list=["cuda", "gpu"]),
            lambda: HardwareDetector().is_available("gpu"),
            lambda: HardwareDetector().get_device_with_index("gpu"),
            lambda: HardwareDetector().get_hardware_by_priority(["gpu"]),
            lambda: is_hardware_simulated("gpu"),
        ):
            with on(), self.assertRaises(ValueError) as caught:
                call()
            self.assertIn("'gpu'", str(caught.exception))
            self.assertIn("webgpu", str(caught.exception))

    def test_numbers_out_of_range(self):
        for value in (-1, 1 << 31, 1 << 80):
            with on(), self.assertRaises(ValueError):
                detect_available_hardware(preferred_device_index=value)
            with on(), self.assertRaises(ValueError):
                HardwareDetector().get_device_with_index("cpu", value)

    def test_hostile_texts(self):
        for bad in ("a\0b", "\udc80"):
            for call in (
                lambda: detect_available_hardware(cache_file=bad),
                lambda: is_hardware_simulated(bad),
                lambda: get_model_hardware_compatibility(bad),
                lambda: get_recommended_device("embedding", bad),
            ):
                with on(), self.assertRaises(ValueError):
                    call()
        huge = "bert" * 250_000
        self.assertEqual(len(get_model_hardware_compatibility(huge)), len(KINDS))
        with on("8xh100"):
            self.assertTrue(get_recommended_device(huge, "x\n" * 1000))
        with self.assertRaises(ValueError) as caught:
            is_hardware_simulated(huge)
        self.assertLess(len(str(caught.exception)), 400)

    def test_a_list_may_name_a_kind_twice(self):
        with on("8xh100"):
            info = detect_available_hardware(priority_list=["qnn", "qualcomm", "cuda", "cuda"])
        self.assertEqual(info["priority_list"], ["qualcomm", "cuda"])


class Modules(unittest.TestCase):
    def test_both_names_are_one_module(self):
        self.assertIs(hardware_detection, resource_pool.hardware_detection)

    def test_all_is_there(self):
        for name in hardware_detection.__all__:
            self.assertTrue(hasattr(hardware_detection, name), name)
            if callable(getattr(hardware_detection, name)):
                self.assertTrue(getattr(hardware_detection, name).__doc__, name)

    def test_torch_is_not_imported(self):
        code = ("import sys, hardware_detection as h; h.detect_available_hardware(); "
                "print(sorted({'torch', 'numpy', 'openvino', 'onnxruntime'} & set(sys.modules)))")
        with on(None, PYTHONPATH=os.pathsep.join(sys.path)):
            done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        self.assertEqual(done.stdout.strip(), "[]")

    def test_threads_may_look_at_once(self):
        answers = []
        with on("8xh100"):
            threads = [threading.Thread(target=lambda: answers.append(
                [detect_available_hardware()["torch_device"] for _ in range(5)])) for _ in range(8)]
            for each in threads:
                each.start()
            for each in threads:
                each.join()
        self.assertEqual(answers, [["cuda:0"] * 5] * 8)

    def test_nothing_is_left_behind(self):
        """A hundred calls more hold no memory more (of Python's)."""
        import gc
        import tracemalloc
        with on("4xa10g"):
            for _ in range(3):
                detect_available_hardware()
            gc.collect()
            tracemalloc.start()
            self.addCleanup(tracemalloc.stop)
            before = tracemalloc.get_traced_memory()[0]
            for _ in range(100):
                detect_available_hardware()
            gc.collect()
            self.assertLess(tracemalloc.get_traced_memory()[0] - before, 50_000)


if __name__ == "__main__":
    unittest.main()
