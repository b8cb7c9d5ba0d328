# SPDX-License-Identifier: Apache-2.0
"""hardware_model_integration: every key, on this machine and on composed ones, and misuse."""

import json
import os
import pathlib
import tempfile
import unittest
from unittest import mock

import hardware_model_integration
import resource_pool.hardware_model_integration
from hardware_detection import detect_available_hardware
from hardware_model_integration import get_hardware_aware_model_classification, integrate_hardware_and_model
from model_family_classifier import FAMILIES, classify_model, update_model_database

MACHINES = pathlib.Path(__file__).resolve().parents[2] / "tests" / "machines"
KINDS = ("cpu", "cuda", "rocm", "mps", "openvino", "qualcomm", "tpu", "webnn", "webgpu")
MODELS = ("bert-base-uncased", "gpt2", "google/vit-base-patch16-224", "openai/whisper-tiny",
          "llava-hf/llava-1.5-7b-hf", "meta-llama/Llama-2-70b", "xyzzy")

_elsewhere = tempfile.TemporaryDirectory()


def setUpModule():
    """In an empty folder: a file that is called like a model would be taken for it."""
    unittest.addModuleCleanup(_elsewhere.cleanup)
    unittest.addModuleCleanup(os.chdir, os.getcwd())
    os.chdir(_elsewhere.name)



def on(machine=None, **more):
    """The environment in which the machine is that of a file; without one, this machine."""
    kept = {name: value for name, value in os.environ.items()
            if name != "RESOURCE_POOL_SIMULATE" and not name.startswith(("WEBNN_", "WEBGPU_"))}
    kept.setdefault("HARDWARE_DETECTION_CACHE", "off")
    if machine:
        kept["RESOURCE_POOL_SIMULATE"] = str(MACHINES / f"{machine}.json")
    return mock.patch.dict(os.environ, {**kept, **more}, clear=True)


def machines():
    return sorted(each.stem for each in MACHINES.glob("*.json"))


class Case(unittest.TestCase):
    def check_kinds(self, names):
        self.assertIsInstance(names, list)
        self.assertEqual(len(names), len(set(names)))
        for each in names:
            self.assertIn(each, KINDS)

    def check_number(self, number):
        self.assertNotIsInstance(number, bool)
        self.assertIsInstance(number, (int, float))
        self.assertGreaterEqual(number, 0)

    def check_plan(self, plan, model):
        self.assertEqual(plan["model_name"], model)
        self.assertIn(plan["original_family"], (None, *FAMILIES))
        self.assertEqual(set(plan["available_hardware"]), set(KINDS))
        self.assertIn(plan["effective_family"], FAMILIES)
        self.assertEqual("detected_family" in plan, plan["original_family"] is None)
        self.assertEqual("family_confidence" in plan, plan["original_family"] is None)
        self.assertIn(plan["model_size"], ("small", "medium", "large"))
        for key in ("estimated_memory_mb", "memory_required_mb"):
            self.check_number(plan.get(key, 0))
        self.assertTrue(plan["available_hardware"][plan["device"].partition(":")[0]])
        self.assertTrue(plan["reason"])
        self.check_kinds(plan["compatible_devices"])
        self.check_kinds(plan["preferred_devices"])
        self.assertTrue(all(plan["available_hardware"][kind] for kind in plan["compatible_devices"]))
        self.assertEqual(set(plan["compatibility_reasons"]), set(KINDS))
        self.assertTrue(all(plan["compatibility_reasons"].values()))
        self.assertRegex(plan["torch_device"], r"\A(cpu|mps|cuda:\d+)\Z")
        wishes = plan["hardware_preferences"]
        self.assertEqual(wishes["device"], plan["device"])
        self.check_kinds(wishes["priority_list"])
        self.assertEqual(set(wishes["hw_compatibility"]), set(KINDS))
        for row in wishes["hw_compatibility"].values():
            self.assertIs(type(row["compatible"]), bool)
        if "error" not in plan:
            self.assertIn(plan["device"].partition(":")[0], plan["compatible_devices"])
        json.dumps(plan)
        return plan

    def check_profile(self, told):
        self.assertEqual(set(told["hardware_profile"]), set(KINDS))
        for row in told["hardware_profile"].values():
            for key in ("compatible", "system_available", "effective_compatibility"):
                self.assertIs(type(row[key]), bool)
            self.assertLessEqual(row["effective_compatibility"], row["compatible"] and row["system_available"])
            self.assertIn(row["level"], ("high", "medium", "low", "none"))
            self.assertTrue(row["reason"])
            if "memory_usage" in row:
                self.check_number(row["memory_usage"]["peak"])
        self.assertIn(told["recommended_hardware"], KINDS)
        self.assertTrue(told["hardware_profile"][told["recommended_hardware"]]["system_available"])
        self.check_kinds(told["hardware_priority"])
        self.assertRegex(told["recommended_template"], r"\Ahf_([a-z_]+_)?template\.py\Z")
        self.assertRegex(told["torch_device"], r"\A(cpu|mps|cuda:\d+)\Z")
        needs = told["resource_requirements"]
        for key in ("cpu_cores", "batch_size"):
            self.assertIsInstance(needs[key], int)
            self.assertGreaterEqual(needs[key], 1)
        for key in ("min_memory_mb", "recommended_memory_mb", "disk_space_mb"):
            self.check_number(needs.get(key, 0))
        self.assertLessEqual(needs.get("min_memory_mb", 0), needs.get("recommended_memory_mb", 0))
        json.dumps(told)
        return told


class Shapes(Case):
    def test_this_machine(self):
        with on():
            for model in MODELS:
                with self.subTest(model):
                    self.check_plan(integrate_hardware_and_model(model), model)
                    self.check_profile(get_hardware_aware_model_classification(model))

    @unittest.skipUnless(MACHINES.is_dir(), "the composed machines are in the source tree")
    def test_every_composed_machine(self):
        for machine in machines():
            with on(machine):
                info = detect_available_hardware()
                for model in MODELS:
                    with self.subTest(f"{model} on {machine}"):
                        self.check_plan(integrate_hardware_and_model(model, hardware_info=info), model)
                        self.check_profile(get_hardware_aware_model_classification(model, hardware_info=info))

    def test_the_classifiers_keys_are_there(self):
        with on():
            told = get_hardware_aware_model_classification("bert-base-uncased", "BertModel", ["fill-mask"])
        alone = classify_model("bert-base-uncased", "BertModel", ["fill-mask"])
        self.assertEqual({key: told[key] for key in alone}, alone)

    def test_both_names_are_one_module(self):
        self.assertIs(hardware_model_integration, resource_pool.hardware_model_integration)
        for name in hardware_model_integration.__all__:
            self.assertTrue(getattr(hardware_model_integration, name).__doc__)


@unittest.skipUnless(MACHINES.is_dir(), "the composed machines are in the source tree")
class Answers(Case):
    def plan(self, machine, model, **arguments):
        with on(machine):
            return self.check_plan(integrate_hardware_and_model(model, **arguments), model)

    def told(self, machine, model, **arguments):
        with on(machine):
            return self.check_profile(get_hardware_aware_model_classification(model, **arguments))

    def test_the_guides_sample(self):
        """Its bert: the embedding template, cuda first, and what the system lacks is not effective."""
        told = self.told("8xh100", "bert-base-uncased")
        self.assertEqual((told["family"], told["recommended_hardware"]), ("embedding", "cuda"))
        self.assertRegex(told["torch_device"], "cuda:[0-7]")
        self.assertEqual(told["recommended_template"], "hf_embedding_template.py")
        self.assertEqual([kind for kind in told["hardware_priority"] if kind != "rocm"], ["cuda", "mps", "cpu"])
        for kind, here in (("cuda", True), ("mps", False), ("openvino", False), ("webnn", False), ("webgpu", False)):
            row = told["hardware_profile"][kind]
            self.assertEqual((row["compatible"], row["system_available"], row["effective_compatibility"]),
                             (True, here, here))

    def test_a_large_model_takes_the_card_it_fits(self):
        plan = self.plan("8xh100", "meta-llama/Llama-2-13b")
        self.assertEqual((plan["effective_family"], plan["model_size"]), ("text_generation", "large"))
        self.assertTrue(plan["device"].startswith("cuda:"))
        self.assertAlmostEqual(plan["memory_required_mb"] / 1024, 26, delta=4)
        self.assertEqual(self.plan("8xh100", "gpt2")["model_size"], "small")
        self.assertEqual(self.plan("8xh100", "bert-large-uncased")["model_size"], "medium")

    def test_what_fits_nowhere(self):
        plan = self.plan("laptop", "meta-llama/Llama-2-70b")
        self.assertEqual(plan["device"], "cpu")
        self.assertEqual(plan["error"]["status"], "capacity")
        self.assertEqual(plan["reason"], plan["error"]["message"])
        self.assertEqual(plan["compatible_devices"], [])
        told = self.told("laptop", "meta-llama/Llama-2-70b")
        self.assertFalse(told["hardware_profile"]["cpu"]["effective_compatibility"])
        self.assertTrue(told["hardware_profile"]["cpu"]["compatible"])
        self.assertEqual(told["resource_requirements"]["batch_size"], 1)

    def test_support_that_is_partial(self):
        """The best that is there is taken, and what is known of it is told."""
        told = self.told("8xmi300x", "llava-hf/llava-1.5-7b-hf")
        row = told["hardware_profile"]["rocm"]
        self.assertEqual((told["recommended_hardware"], row["compatible"], row["level"]), ("rocm", False, "none"))
        self.assertIn("only CUDA", row["reason"])
        plan = self.plan("8xmi300x", "llava-hf/llava-1.5-7b-hf")
        self.assertTrue(plan["hardware_preferences"]["hw_compatibility"]["rocm"]["compatible"])
        self.assertEqual(plan["torch_device"], plan["device"].replace("rocm", "cuda"))

    def test_the_callers_family_counts(self):
        plan = self.plan("arc-npu", "acme/thing", model_family="vision")
        self.assertEqual((plan["original_family"], plan["effective_family"]), ("vision", "vision"))
        self.assertIn("vision", plan["compatibility_reasons"]["webgpu"])
        self.assertIn("openvino", plan["compatible_devices"])
        plan = self.plan("arc-npu", "acme/thing", model_family="unknown")
        self.assertEqual(plan["effective_family"], "unknown")

    def test_a_class_counts(self):
        plan = self.plan(None, "acme/thing", model_class="WhisperForConditionalGeneration")
        self.assertEqual((plan["detected_family"], plan["effective_family"]), ("audio", "audio"))

    def test_a_database_counts(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "models.json")
            update_model_database(path, "gpt2", "vision")
            told = self.told("8xh100", "gpt2", model_db_path=path)
            self.assertEqual((told["family"], told["source"]), ("vision", "database"))
            self.assertEqual(told["recommended_template"], "hf_vision_template.py")

    def test_information_made_by_hand(self):
        for info in ({"hardware": {"cpu": True, "cuda": True}}, {"cpu": True, "cuda": True, "torch_device": "cuda"}):
            plan = self.plan(None, "bert-base-uncased", hardware_info=info)
            self.assertEqual((plan["device"], plan["torch_device"]), ("cuda", "cuda:0"))
            self.assertEqual(plan["compatible_devices"], ["cuda", "cpu"])
        self.assertEqual(self.plan(None, "gpt2", hardware_info={})["device"], "cpu")
        self.assertTrue(self.plan(None, "gpt2", hardware_info={"qnn": True})["available_hardware"]["qualcomm"])

    def test_simulated_browsers_are_not_chosen(self):
        with on(None, CHROME_PATH="off", WEBGPU_SIMULATION="1"):
            told = self.check_profile(get_hardware_aware_model_classification("bert-base-uncased"))
        row = told["hardware_profile"]["webgpu"]
        self.assertEqual((row["system_available"], row["effective_compatibility"]), (True, False))
        self.assertNotEqual(told["recommended_hardware"], "webgpu")

    def test_the_batch_grows_with_the_room(self):
        large = self.told("8xh100", "meta-llama/Llama-2-7b")["resource_requirements"]["batch_size"]
        small = self.told("l4", "meta-llama/Llama-2-7b")["resource_requirements"]["batch_size"]
        self.assertGreater(large, small)


class Misuse(Case):
    def test_wrong_types(self):
        for call in (integrate_hardware_and_model, get_hardware_aware_model_classification):
            for arguments in ({"model_name": None}, {"model_name": 7}, {"model_name": b"x"},
                              {"model_name": "x", "model_class": 7}, {"model_name": "x", "hardware_info": 7},
                              {"model_name": "x", "hardware_info": {"hardware": 7}}):
                with self.subTest(f"{call.__name__}({arguments})"), on(), self.assertRaises(TypeError):
                    call(**arguments)
        with self.assertRaises(TypeError):
            integrate_hardware_and_model("x", 7)
        with self.assertRaises(TypeError):
            get_hardware_aware_model_classification("x", tasks="fill-mask")
        with self.assertRaises(TypeError):
            get_hardware_aware_model_classification("x", hw_cache_path=7)

    def test_names(self):
        for bad in ("x\0", "", "\udc80"):
            for call in (integrate_hardware_and_model, get_hardware_aware_model_classification):
                with on(), self.assertRaises(ValueError):
                    call(bad)
        with self.assertRaises(ValueError) as caught:
            integrate_hardware_and_model("x", "painting")
        self.assertIn("multimodal", str(caught.exception))
        with on():
            self.check_plan(integrate_hardware_and_model("gpt2-" * 200_000), "gpt2-" * 200_000)
            self.check_profile(get_hardware_aware_model_classification("a\nb"))

    def test_a_damaged_snapshot(self):
        for snapshot in (7, {}, {"version": 1}, {"version": 1, "devices": [{"id": "x", "kind": "gpu"}]}):
            info = {"hardware": {"cpu": True}, "snapshot": snapshot}
            with self.assertRaises(resource_pool.DataError):
                integrate_hardware_and_model("gpt2", hardware_info=info)


if __name__ == "__main__":
    unittest.main()
