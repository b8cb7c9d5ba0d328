# SPDX-License-Identifier: Apache-2.0
"""Room for what the pool does not load: in one process, over processes, and given back whatever happens."""

import gc
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import threading
import unittest

import resource_pool
from resource_pool import ResourcePool

ROOT = pathlib.Path(__file__).resolve().parents[2]
RPOOL = pathlib.Path(resource_pool.__file__).resolve().parents[2] / "cli" / "rpool"
MIB = 1 << 20


class Thing:
    """A model that owns nothing."""


def open_pool(budget="cpu=100MiB", **options):
    return ResourcePool(history="off", budget=budget, **options)


def charged(pool, device="cpu"):
    return pool.get_stats()["devices"].get(device, 0)


class InOneProcess(unittest.TestCase):
    def test_room_is_taken_and_given_back(self):
        pool = open_pool()
        lease = pool.reserve("cpu", 60 * MIB, name="tests")
        self.assertIsInstance(lease, resource_pool.Lease)
        self.assertEqual((lease.device, lease.memory_bytes, lease.key), ("cpu", 60 * MIB, "reservation:tests"))
        self.assertIsNone(lease.object)
        self.assertEqual(charged(pool), 60 * MIB)
        lease.release()
        self.assertEqual(charged(pool), 0)
        self.assertTrue(lease.released)
        with self.assertRaises(resource_pool.StateError):
            lease.release()

    def test_with_gives_the_lease_and_ends_it(self):
        pool = open_pool()
        with pool.reserve("cpu", "60MiB") as room:
            self.assertEqual(room.memory_bytes, 60 * MIB)
            self.assertEqual(charged(pool), 60 * MIB)
        self.assertTrue(room.released)
        self.assertEqual(charged(pool), 0)

    def test_a_lease_that_nobody_has_is_given_back(self):
        pool = open_pool()
        pool.reserve("cpu", "60MiB")
        gc.collect()
        self.assertEqual(charged(pool), 0)

    def test_memory_is_a_number_or_a_text_as_in_budgets(self):
        pool = open_pool("cpu=100GiB")
        for memory, size in (("8GB", 8 * 10**9), ("8GiB", 8 << 30), ("512MB", 512 * 10**6), (True, 1), (4096, 4096)):
            with self.subTest(memory=memory), pool.reserve("cpu", memory, timeout=5) as room:
                self.assertEqual(room.memory_bytes, size)

    def test_it_counts_as_no_request_and_no_object(self):
        pool = open_pool()
        with pool.reserve("cpu", "10MiB"), pool.reserve("cpu", "10MiB"):
            stats = pool.get_stats()
            self.assertEqual((stats["hits"], stats["misses"], stats["models"]), (0, 0, {}))
            self.assertEqual((dict(pool.models), dict(pool.resources)), ({}, {}))
            self.assertEqual(charged(pool), 20 * MIB)

    def test_idle_objects_go_and_held_ones_are_named(self):
        pool = open_pool()
        pool.get_model("t", "idle", Thing, size=60 * MIB)
        pool.reserve("cpu", "60MiB").release()
        self.assertEqual(dict(pool.models), {})
        held = pool.get_model("t", "held", Thing, size=60 * MIB)
        with self.assertRaisesRegex(TimeoutError, "t:held"):
            pool.reserve("cpu", "60MiB", timeout=0)
        del held
        pool.reserve("cpu", "60MiB").release()

    def test_garbage_is_not_in_the_way(self):
        pool = open_pool()
        before = gc.get_threshold()
        gc.set_threshold(1000000)
        try:
            thing = pool.get_model("t", "held", Thing, size=60 * MIB)
            holder = [thing]
            holder.append(holder)
            del thing, holder
            pool.reserve("cpu", "60MiB").release()
        finally:
            gc.set_threshold(*before)

    def test_what_can_never_fit_and_wrong_arguments(self):
        pool = open_pool()
        with self.assertRaisesRegex(resource_pool.CapacityError, "200.0 MiB.*100.0 MiB"):
            pool.reserve("cpu", "200MiB")
        for error, arguments in ((resource_pool.ArgumentError, ("cpu", 0)),
                                 (resource_pool.ArgumentError, ("cpu", "lots")),
                                 (resource_pool.ArgumentError, ("toaster", 1)), (resource_pool.ArgumentError, ("", 1)),
                                 (resource_pool.AbsentError, ("cpu:7", 1)), (OverflowError, ("cpu", -1)),
                                 (TypeError, ("cpu", 1.5)), (TypeError, (None, 1)), (TypeError, ("cpu",))):
            with self.subTest(arguments=arguments), self.assertRaises(error):
                pool.reserve(*arguments)
        with self.assertRaises(resource_pool.ArgumentError):
            pool.reserve("cpu", 1, timeout=-1)
        with self.assertRaises(TypeError):
            pool.reserve("cpu", 1, "a name")
        pool.close()
        with self.assertRaises(resource_pool.StateError):
            pool.reserve("cpu", 1)

    def test_who_waits_goes_on_when_room_comes_back(self):
        pool = open_pool()
        first = pool.reserve("cpu", "60MiB")
        got = []
        waiter = threading.Thread(target=lambda: got.append(pool.reserve("cpu", "60MiB", timeout=60)))
        waiter.start()
        first.release()
        waiter.join()
        self.assertEqual(got[0].memory_bytes, 60 * MIB)
        got[0].release()

    def test_of_two_threads_that_wait_for_each_other_the_last_is_told(self):
        pool = open_pool()
        both = threading.Barrier(2)
        ends = []

        def hold_and_want():
            with pool.reserve("cpu", "45MiB"):
                both.wait()
                try:
                    with pool.reserve("cpu", "45MiB"):
                        ends.append("room")
                except resource_pool.CycleError as error:
                    ends.append("cycle" if "reservation:process" in str(error) else str(error))

        threads = [threading.Thread(target=hold_and_want) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(sorted(ends), ["cycle", "room"])

    def test_ctrl_c_ends_a_wait(self):
        pool = open_pool()
        with pool.reserve("cpu", "60MiB"):
            before = signal.signal(signal.SIGINT, signal.default_int_handler)
            timer = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT))
            timer.start()
            try:
                with self.assertRaises(KeyboardInterrupt):
                    pool.reserve("cpu", "60MiB", timeout=60)
            finally:
                timer.join()
                signal.signal(signal.SIGINT, before)
        self.assertEqual(charged(pool), 0)

    def test_in_a_child_of_fork_it_is_the_parents(self):
        pool = open_pool()
        lease = pool.reserve("cpu", "60MiB")
        child = os.fork()
        if child == 0:
            try:
                pool.reserve("cpu", 1)
            except resource_pool.ForkedError:
                del lease
                os._exit(0)
            os._exit(1)
        self.assertEqual(os.waitpid(child, 0)[1], 0)
        self.assertEqual(charged(pool), 60 * MIB)
        lease.release()


# Holds room on one device, says so, waits for a line, wants room on the other, and tells what came of it.
CLIENT = """
import sys
from resource_pool import CycleError, ResourcePool
mine, wanted = sys.argv[1:]
pool = ResourcePool(history="off", share="machine")
lease = pool.reserve(mine, "6GiB", name="for " + mine)
print(lease.device, lease.reason, flush=True)
sys.stdin.readline()
try:
    print("got", pool.reserve(wanted, "6GiB", name="more on " + wanted).device, flush=True)
except CycleError as error:
    print("cycle", error, flush=True)
sys.stdin.readline()
"""


@unittest.skipUnless(RPOOL.exists(), "no rpool beside the package")
class OverProcesses(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.environment = {
            **os.environ, "RESOURCE_POOL_BROKER": self.folder.name, "RESOURCE_POOL_RPOOL": str(RPOOL),
            "RESOURCE_POOL_SIMULATE": str(ROOT / "tests/machines/2xrtx4090.json"), "RESOURCE_POOL_LOG": "error",
            "RESOURCE_POOL_BUDGET": "cuda:0=10GiB,cuda:1=10GiB", "PYTHONPATH": os.pathsep.join(sys.path)}
        self.addCleanup(self.rpool, "stop", "--force")
        self.clients = []

    def rpool(self, *arguments):
        return subprocess.run([str(RPOOL), *arguments], env=self.environment, text=True, capture_output=True,
                              timeout=60, check=False).stdout

    def hold(self, mine, wanted):
        client = subprocess.Popen([sys.executable, "-c", CLIENT, mine, wanted], env=self.environment, text=True,
                                  stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.addCleanup(client.stdout.close)
        self.addCleanup(client.stdin.close)
        self.addCleanup(client.wait)
        self.addCleanup(client.kill)
        return client, client.stdout.readline().strip()

    def go_on(self, client):
        client.stdin.write("\n")
        client.stdin.flush()

    def test_one_ledger_for_all_processes(self):
        first, held = self.hold("cuda", "cuda")
        self.assertIn("simulated", held)
        second, other = self.hold("cuda", "cuda")
        self.assertEqual({held.split()[0], other.split()[0]}, {"cuda:0", "cuda:1"})
        status = self.rpool("status")
        self.assertIn("reservation:for cuda  6.0 GiB on cuda:0", status)
        self.assertIn("reservation:for cuda  6.0 GiB on cuda:1", status)
        self.go_on(second)
        first.kill()  # whoever is killed gives its room back
        self.assertEqual(second.stdout.readline().split(), ["got", held.split()[0]])

    def test_of_two_processes_that_wait_for_each_other_one_is_told(self):
        first, _ = self.hold("cuda:0", "cuda:1")
        second, _ = self.hold("cuda:1", "cuda:0")
        ends = {}

        def read(client):
            ends[client] = client.stdout.readline()
            if ends[client].startswith("cycle"):
                client.kill()

        readers = [threading.Thread(target=read, args=(client,)) for client in (first, second)]
        for client, reader in zip((first, second), readers):
            reader.start()
            self.go_on(client)
        for reader in readers:
            reader.join(60)
        told = [line for line in ends.values() if line.startswith("cycle")]
        self.assertEqual(len(told), 1, ends)
        for client in (first, second):
            self.assertIn(f"process {client.pid}", told[0])
        self.assertEqual(sum(line.startswith("got cuda:") for line in ends.values()), 1, ends)


if __name__ == "__main__":
    unittest.main()
