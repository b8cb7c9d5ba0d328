# SPDX-License-Identifier: Apache-2.0
"""What makes a hit and a look quick must not be seen: words that are kept, figures that are kept."""

import gc
import json
import logging
import threading
import unittest

import resource_pool
from resource_pool import ResourcePool


class Text(str):
    pass


class PoolTest(unittest.TestCase):
    def setUp(self):
        self.pool = ResourcePool(history="off")

    def key(self, preferences, name="a"):
        with self.pool.lease_model("embedding", name, lambda: [name], preferences):
            pass
        lease = self.pool.lease_model("embedding", name, None, preferences)
        with lease:
            return lease.key


class PreferencesTest(PoolTest):
    def test_a_dict_that_was_changed_is_read_anew(self):
        preferences = {"device": "cpu", "precision": "int8", "require_precision": True}
        self.assertEqual(self.key(preferences), "embedding:a@cpu/int8")
        self.assertEqual(self.key(preferences), "embedding:a@cpu/int8")
        preferences["precision"] = "int4"
        self.assertEqual(self.key(preferences), "embedding:a@cpu/int4")
        preferences["precision"] = None
        preferences["require_precision"] = False
        self.assertEqual(self.key(preferences), "embedding:a@cpu")

    def test_a_list_inside_that_was_changed_is_read_anew(self):
        inner = ["cpu"]
        preferences = {"device": "auto", "priority_list": inner}
        self.key(preferences)
        inner[0] = "nonsense"
        with self.assertRaises(resource_pool.ResourcePoolError):
            self.pool.get_model("embedding", "b", lambda: [1], preferences)
        inner[0] = {"a": 1}
        with self.assertRaises(resource_pool.ResourcePoolError):
            self.pool.get_model("embedding", "b", lambda: [1], preferences)
        inner[0] = "cpu"
        self.assertEqual(self.pool.get_model("embedding", "b", lambda: [1], preferences), [1])

    def test_true_is_not_one(self):
        self.key({"device": "cpu", "force_device": True})
        for other in (1, 1.0):
            with self.assertRaises(resource_pool.ResourcePoolError):
                self.pool.get_model("embedding", "b", lambda: [1], {"device": "cpu", "force_device": other})
        self.assertEqual(self.key({"device": "cpu", "force_device": True}), "embedding:a@cpu")

    def test_wrong_words_are_refused_each_time(self):
        for _ in range(3):
            with self.assertRaises(resource_pool.ResourcePoolError):
                self.pool.get_model("embedding", "a", lambda: [1], {"policy": "nonsense"})
            with self.assertRaises(TypeError):
                self.pool.get_model("embedding", "a", lambda: [1], ["device"])

    def test_an_unknown_key_is_warned_of_each_time(self):
        for _ in range(3):
            with self.assertLogs("resource_pool", logging.WARNING) as seen:
                self.pool.get_model("embedding", "a", lambda: [1], {"devcie": "cpu"})
            self.assertIn("devcie", seen.output[0])

    def test_equal_words_in_any_wrapping_lead_to_the_same_model(self):
        made = []
        wrappings = [{"device": "cpu"}, {Text("device"): "cpu"}, {"device": Text("cpu")},
                     {"device": "cpu", "priority_list": ()}]
        for preferences in wrappings * 2:
            self.pool.get_model("embedding", "a", lambda: made.append(1) or [1], preferences)
        self.assertEqual(len(made), 1)

    def test_more_words_than_are_kept(self):
        wanted = [{"device": "cpu", "batch_size": size} for size in range(1, 31)]
        for _ in range(3):
            for preferences in wanted:
                self.assertEqual(self.key(preferences), "embedding:a@cpu")

    def test_deep_words_are_not_kept_and_do_no_harm(self):
        deep = []
        for _ in range(50):
            deep = [deep]
        endless = {"device": "cpu"}
        endless["self"] = endless
        for _ in range(2):
            with self.assertRaises(ValueError):
                self.pool.get_model("embedding", "a", lambda: [1], endless)
            with self.assertLogs("resource_pool", logging.WARNING):
                self.pool.get_model("embedding", "a", lambda: [1], {"more": deep})

    def test_threads_with_words_of_their_own(self):
        wrong = []

        def ask(index):
            precision = ("int8", "int4", "bf16")[index % 3]
            for turn in range(300):
                preferences = {"device": "cpu", "precision": precision, "batch_size": 1 + turn % 11,
                               "require_precision": True}
                lease = self.pool.lease_model("embedding", "a", lambda: [1], preferences)
                if lease.key != f"embedding:a@cpu/{precision}":
                    wrong.append((lease.key, precision))
                lease.release()

        threads = [threading.Thread(target=ask, args=(index,)) for index in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(wrong, [])

    def test_keywords_that_are_no_text(self):
        with self.assertRaises(TypeError):
            self.pool.get_model("embedding", "a", **{"\ud800": 1})


class FiguresTest(PoolTest):
    def test_each_hit_is_seen_at_once(self):
        self.pool.get_model("embedding", "a", lambda: [1])
        for hits in range(1, 50):
            self.pool.get_model("embedding", "a")
            self.assertEqual(self.pool._stats["hits"], hits)
            self.assertEqual(self.pool._stats["embedding:a"]["hits"], hits)

    def test_what_comes_and_goes_is_seen_at_once(self):
        for turn in range(20):
            self.pool.get_model("embedding", f"n{turn}", lambda: [1], size=1000)
            self.assertIn(f"embedding:n{turn}", self.pool._stats)
            self.assertEqual(self.pool._stats["memory_usage"], 1000)
            self.pool.cleanup_unused_resources(0)
            self.assertNotIn(f"embedding:n{turn}", self.pool._stats)
            self.assertEqual(self.pool._stats["memory_usage"], 0)

    def test_what_was_cleared_goes_with_its_last_reference(self):
        mine = self.pool.get_model("embedding", "a", lambda: bytearray(10), size=1000)
        self.pool.clear()
        self.assertEqual(self.pool._stats["memory_usage"], 1000)
        del mine
        self.assertEqual(self.pool._stats["memory_usage"], 0)

    def test_a_dict_that_was_given_stays_as_it_was(self):
        self.pool.get_model("embedding", "a", lambda: [1])
        before = self.pool._stats
        self.pool.get_model("embedding", "a")
        self.assertEqual((before["hits"], self.pool._stats["hits"]), (0, 1))

    def test_a_failed_load_is_seen_at_once(self):
        self.assertEqual(self.pool._stats["misses"], 0)
        with self.assertRaises(ZeroDivisionError):
            self.pool.get_model("embedding", "a", lambda: 1 // 0)
        self.assertEqual(self.pool._stats["misses"], self.pool.get_stats()["misses"])

    def test_a_closed_pool_has_none(self):
        self.pool._stats
        self.pool.close()
        with self.assertRaises(resource_pool.StateError):
            self.pool._stats

    def test_a_thousand_keys_one_by_one(self):
        for index in range(1000):
            self.pool.get_model("embedding", f"n{index}", lambda: [1], size=index)
        looks = [self.pool._stats[key] for key in self.pool.models]
        self.assertEqual([look["memory_usage"] for look in looks], list(range(1000)))
        self.assertLess(len({id(look) for look in looks}), 1001)
        self.assertEqual(list(self.pool.get_stats()["models"]), list(self.pool.models))
        json.dumps(self.pool._stats)

    def test_figures_keep_no_object(self):
        class Model:
            gone = 0

            def __del__(self):
                Model.gone += 1

        self.pool.get_model("embedding", "a", Model)
        self.pool._stats
        self.pool.clear()
        gc.collect()
        self.assertEqual(Model.gone, 1)


if __name__ == "__main__":
    unittest.main()
