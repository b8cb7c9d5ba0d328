# SPDX-License-Identifier: Apache-2.0
"""model_family_classifier: every key, each kind of evidence, the database, and misuse."""

import json
import multiprocessing
import os
import pathlib
import tempfile
import unittest

import model_family_classifier
import resource_pool.model_family_classifier
from model_family_classifier import (
    FAMILIES, SUBFAMILIES, ModelFamilyClassifier, classify_model, get_template_for_family,
    update_model_database,
)

SOURCES = {"database", "files", "architecture", "model_type", "graph", "task", "method", "name"}
SUBFAMILIES_OF_THE_GUIDE = {
    "embedding": "masked_lm sentence_transformer token_classifier",
    "text_generation": "causal_lm seq2seq chat_model",
    "vision": "image_classifier object_detector segmentation depth_estimation",
    "audio": "speech_recognition audio_classifier text_to_speech",
    "multimodal": "vision_language image_text_encoder document_qa",
    "unknown": "web_deployment",
}

_elsewhere = tempfile.TemporaryDirectory()


def setUpModule():
    """In an empty folder: a file that is called like a model would be taken for it."""
    unittest.addModuleCleanup(_elsewhere.cleanup)
    unittest.addModuleCleanup(os.chdir, os.getcwd())
    os.chdir(_elsewhere.name)



def record_many(path, first):
    """In another process."""
    for number in range(first, first + 20):
        update_model_database(path, f"acme/model-{number}", "vision", confidence=0.9)


class Case(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def check(self, answer):
        for key in ("model_name", "family", "source", "template"):
            self.assertIsInstance(answer[key], str)
        self.assertIn(answer["family"], FAMILIES)
        self.assertIn(answer["source"], SOURCES)
        self.assertIsInstance(answer["confidence"], float)
        self.assertTrue(0 <= answer["confidence"] <= 1)
        self.assertIn("subfamily", answer)
        if answer["subfamily"] is None:
            self.assertNotIn("subfamily_confidence", answer)
        else:
            self.assertIn(answer["subfamily"], SUBFAMILIES[answer["family"]])
            self.assertTrue(0 <= answer["subfamily_confidence"] <= 1)
        self.assertEqual(answer["template"], get_template_for_family(answer["family"]))
        for each in answer["analyses"]:
            self.assertIn(each["family"], FAMILIES)
            self.assertIn(each["source"], SOURCES)
            self.assertTrue(0 <= each["confidence"] <= 1)
            self.assertNotIn(None, each.values())
        sources = [each["source"] for each in answer["analyses"]]
        self.assertEqual(len(sources), len(set(sources)))
        self.assertEqual(answer["source"], sources[0])
        json.dumps(answer)
        return answer


class Answers(Case):
    def test_names(self):
        for name, family, subfamily in (
            ("bert-base-uncased", "embedding", "masked_lm"),
            ("sentence-transformers/all-MiniLM-L6-v2", "embedding", "sentence_transformer"),
            ("gpt2", "text_generation", "causal_lm"),
            ("t5-small", "text_generation", "seq2seq"),
            ("google/vit-base-patch16-224", "vision", "image_classifier"),
            ("openai/whisper-tiny", "audio", "speech_recognition"),
            ("llava-hf/llava-1.5-7b-hf", "multimodal", "vision_language"),
            ("impira/layoutlm-document-qa", "multimodal", "document_qa"),
        ):
            with self.subTest(name):
                answer = self.check(classify_model(name))
                self.assertEqual((answer["model_name"], answer["family"]), (name, family))
                self.assertEqual(answer["subfamily"], subfamily)
                self.assertEqual(answer["source"], "name")
                self.assertGreater(answer["confidence"], 0.5)

    def test_a_name_that_says_nothing(self):
        answer = self.check(classify_model("xyzzy"))
        self.assertEqual((answer["family"], answer["subfamily"]), ("unknown", None))
        self.assertEqual(answer["template"], "hf_template.py")

    def test_each_piece_of_evidence_is_told(self):
        answer = self.check(classify_model("gpt2", "CLIPModel", ["fill-mask"], ["transcribe", "forward"]))
        told = {each["source"]: each["family"] for each in answer["analyses"]}
        self.assertEqual(told, {"architecture": "multimodal", "task": "embedding", "method": "audio",
                                "name": "text_generation"})
        self.assertEqual(answer["family"], "multimodal")
        self.assertTrue(all(each["reason"] for each in answer["analyses"]))

    def test_a_class_may_be_the_class_itself(self):
        class WhisperForConditionalGeneration:
            pass
        answer = self.check(classify_model("acme/thing", WhisperForConditionalGeneration))
        self.assertEqual((answer["family"], answer["source"]), ("audio", "architecture"))

    def test_evidence_that_says_nothing_is_told_as_such(self):
        answer = self.check(classify_model("gpt2", "NoSuchClass", ["no-such-task"], ["forward"]))
        told = {each["source"]: each for each in answer["analyses"]}
        for source in ("task", "method"):
            self.assertEqual(told[source]["family"], "unknown")
            self.assertEqual(told[source]["confidence"], 0.0)
        self.assertEqual(told["name"]["family"], "text_generation")

    def test_tasks_and_methods_may_be_any_iterable(self):
        answer = self.check(classify_model("acme/thing", tasks=("fill-mask",), methods=iter(["forward"])))
        self.assertEqual((answer["family"], answer["source"]), ("embedding", "task"))

    def test_where_it_runs_does_not_count(self):
        with_it = classify_model("gpt2", hw_compatibility={"cuda": {"compatible": True}})
        self.assertEqual(with_it, classify_model("gpt2"))

    def test_a_folder_is_looked_into(self):
        folder = self.folder / "gpt2"
        folder.mkdir()
        config = {"model_type": "vit", "architectures": ["ViTForImageClassification"]}
        (folder / "config.json").write_text(json.dumps(config))
        answer = self.check(classify_model(str(folder)))
        self.assertEqual(answer["family"], "vision")
        self.assertEqual(answer["subfamily"], "image_classifier")
        self.assertIn("name", [each["source"] for each in answer["analyses"]])

    def test_a_path_where_nothing_is(self):
        with self.assertRaises(LookupError):
            classify_model("/no/such/folder")

    def test_a_damaged_folder(self):
        folder = self.folder / "model"
        folder.mkdir()
        (folder / "config.json").write_text("{")
        with self.assertRaises(resource_pool.DataError) as caught:
            classify_model(str(folder))
        self.assertIn("config.json", str(caught.exception))


class Tables(Case):
    def test_families_and_subfamilies(self):
        self.assertEqual({name: " ".join(each) for name, each in SUBFAMILIES.items()},
                         SUBFAMILIES_OF_THE_GUIDE)
        self.assertEqual(FAMILIES, tuple(SUBFAMILIES_OF_THE_GUIDE))

    def test_templates(self):
        for family in FAMILIES:
            name = "hf_template.py" if family == "unknown" else f"hf_{family}_template.py"
            self.assertEqual(get_template_for_family(family), name)
            self.assertEqual(get_template_for_family(family, "causal_lm"), name)
        self.assertEqual(get_template_for_family(None), "hf_template.py")
        self.assertEqual(get_template_for_family("strange"), "hf_template.py")
        self.assertEqual(ModelFamilyClassifier().get_template_for_family("audio"), "hf_audio_template.py")

    def test_both_names_are_one_module(self):
        self.assertIs(model_family_classifier, resource_pool.model_family_classifier)
        for name in model_family_classifier.__all__:
            self.assertTrue(hasattr(model_family_classifier, name), name)


class Database(Case):
    def setUp(self):
        super().setUp()
        self.path = self.folder / "models.json"

    def test_a_recorded_answer_wins(self):
        self.path.write_text(json.dumps({"gpt2": {"family": "vision", "subfamily": "segmentation",
                                                  "confidence": 0.7}, "bert": {"family": "audio"}}))
        answer = self.check(classify_model("gpt2", "CLIPModel", ["fill-mask"], model_db_path=self.path))
        self.assertEqual((answer["family"], answer["subfamily"]), ("vision", "segmentation"))
        self.assertEqual((answer["source"], answer["confidence"]), ("database", 0.7))
        sources = [each["source"] for each in answer["analyses"]]
        self.assertEqual(sources, ["database", "architecture", "task", "name"])
        answer = self.check(classify_model("bert", model_db_path=str(self.path)))
        self.assertEqual((answer["family"], answer["subfamily"], answer["confidence"]), ("audio", None, 1.0))

    def test_a_name_that_is_not_in_it(self):
        self.path.write_text("{}")
        answer = self.check(classify_model("gpt2", model_db_path=self.path))
        self.assertEqual((answer["family"], answer["source"]), ("text_generation", "name"))

    def test_a_file_that_is_not_there_yet(self):
        answer = self.check(classify_model("gpt2", model_db_path=self.path))
        self.assertEqual(answer["source"], "name")
        self.assertFalse(self.path.exists())

    def test_a_damaged_file_is_an_error_and_stays(self):
        self.path.write_text('{"gpt2": ')
        for call in (lambda: classify_model("gpt2", model_db_path=self.path),
                     lambda: update_model_database(self.path, "gpt2", "vision")):
            with self.assertRaises(resource_pool.DataError):
                call()
        self.assertEqual(self.path.read_text(), '{"gpt2": ')

    def test_recording(self):
        kept = update_model_database(self.path, "acme/x", "vision", "segmentation", 0.8)
        self.assertEqual(kept, {"model_name": "acme/x", "family": "vision", "subfamily": "segmentation",
                                "confidence": 0.8, "source": "database"})
        self.assertEqual(update_model_database(self.path, "acme/x", "audio", confidence=0.5)["family"], "vision")
        self.assertEqual(update_model_database(self.path, "acme/x", "audio")["family"], "audio")
        self.assertEqual(json.loads(self.path.read_text())["acme/x"], {"family": "audio", "confidence": 1.0})

    def test_a_classifier_with_a_database(self):
        classifier = ModelFamilyClassifier(self.path)
        self.assertEqual(classifier.classify_model("acme/x")["family"], "unknown")
        classifier.update_model_db("acme/x", "audio", "text_to_speech")
        self.assertEqual(classifier.classify_model("acme/x", tasks=["fill-mask"])["subfamily"], "text_to_speech")
        with self.assertRaises(TypeError):
            ModelFamilyClassifier().update_model_db("acme/x", "audio")

    def test_processes_record_at_once(self):
        context = multiprocessing.get_context("spawn")
        workers = [context.Process(target=record_many, args=(str(self.path), 100 * n)) for n in range(3)]
        for each in workers:
            each.start()
        for each in workers:
            each.join()
            self.assertEqual(each.exitcode, 0)
        self.assertEqual(len(json.loads(self.path.read_text())), 60)


class Misuse(Case):
    def test_wrong_types(self):
        for call in (
            lambda: classify_model(None),
            lambda: classify_model(7),
            lambda: classify_model(b"gpt2"),
            lambda: classify_model("gpt2", 7),
            lambda: classify_model("gpt2", tasks="fill-mask"),
            lambda: classify_model("gpt2", tasks=[7]),
            lambda: classify_model("gpt2", methods=b"x"),
            lambda: classify_model("gpt2", methods=7),
            lambda: classify_model("gpt2", hw_compatibility=["cuda"]),
            lambda: classify_model("gpt2", model_db_path=7),
            lambda: ModelFamilyClassifier(7),
            lambda: get_template_for_family(7),
            lambda: get_template_for_family("audio", 7),
            lambda: update_model_database(None, "x", "audio"),
            lambda: update_model_database(self.folder / "x", None, "audio"),
            lambda: update_model_database(self.folder / "x", "x", None),
            lambda: update_model_database(self.folder / "x", "x", "audio", confidence="1"),
        ):
            with self.assertRaises(TypeError):
                call()
        self.assertEqual(os.listdir(self.folder), [])

    def test_names_that_are_none(self):
        for call in (
            lambda: classify_model(""),
            lambda: update_model_database(self.folder / "x", "x", "painting"),
            lambda: update_model_database(self.folder / "x", "x", "unknown"),
            lambda: update_model_database(self.folder / "x", "x", "audio", "causal"),
            lambda: update_model_database(self.folder / "x", "", "audio"),
            lambda: update_model_database(self.folder / "x", "x", "audio", confidence=2.0),
            lambda: update_model_database(self.folder / "x", "x", "audio", confidence=float("nan")),
        ):
            with self.assertRaises(ValueError):
                call()
        self.assertFalse((self.folder / "x").exists())

    def test_hostile_texts(self):
        for bad in ("gpt2\0", "\udc80"):
            for call in (
                lambda: classify_model(bad),
                lambda: classify_model("gpt2", bad),
                lambda: classify_model("gpt2", tasks=[bad]),
                lambda: classify_model("gpt2", methods=[bad]),
                lambda: classify_model("gpt2", model_db_path=bad),
                lambda: update_model_database(self.folder / "x", bad, "audio"),
            ):
                with self.assertRaises(ValueError):
                    call()
        self.check(classify_model("gpt2\n\t\x1b[31m"))
        self.check(classify_model("é" * 1000))

    def test_large_texts(self):
        huge = "gpt2-" * 200_000
        self.check(classify_model(huge))
        self.check(classify_model("gpt2", huge, [huge], [huge]))
        with self.assertRaises(ValueError):
            classify_model("gpt2", tasks=["fill-mask"] * 100_000)


if __name__ == "__main__":
    unittest.main()
