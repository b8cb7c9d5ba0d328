# SPDX-License-Identifier: Apache-2.0
"""Libraries with threads and random states of their own: numpy and torch, loaded in the server."""

from differences import Probe

NUMERIC = "json,numpy,numpy.random,torch"


def both(name, code, **more):
    return Probe(name, code, preloads=NUMERIC, needs="torch", **more)


# Many questions in one program: each plain start takes seconds.
PROBES = [
    both("numeric", """
import numpy as np, torch, os, random, sys, threading
print(torch.initial_seed() if torch.initial_seed() < 1 << 48 else 'drawn', torch.randn(2, generator=torch.Generator().manual_seed(4)))
torch.manual_seed(3); print(torch.rand(2)); np.random.seed(3); print(np.random.rand(2), np.random.default_rng(5).random(2))
print(torch.get_num_threads(), torch.get_num_interop_threads(), torch.get_default_dtype(), torch.is_grad_enabled(), torch.get_rng_state().sum())
a = np.arange(250000, dtype=np.float64).reshape(500, 500) % 7
print((a @ a).sum(), np.linalg.norm(a), np.geterr(), np.get_printoptions()['precision'])
t = torch.from_numpy(a); print((t @ t).sum())
for n in (1, 2, 4):
    torch.set_num_threads(n); print(torch.get_num_threads(), (t.float() @ t.float()).sum())
x = torch.ones(200000, requires_grad=True); (x * 2).sum().backward(); print(x.grad.sum())
m = torch.nn.Linear(64, 64); print(m(torch.ones(8, 64)).shape, sum(p.numel() for p in m.parameters()))
c = torch.nn.Conv2d(3, 8, 3); print(c(torch.ones(2, 3, 32, 32)).shape)
ts = [threading.Thread(target=lambda: (t @ t).sum()) for _ in range(4)]; [i.start() for i in ts]; [i.join() for i in ts]
p = os.fork()
if p == 0:
    print(np.dot(a, a).sum(), flush=True); os._exit(0)
os.waitpid(p, 0)
import torch.utils.data as d
print([b.tolist() for b in d.DataLoader(list(range(6)), batch_size=2, num_workers=2)])
torch.save(m.state_dict(), 'm.pt'); print(sorted(torch.load('m.pt')), torch.cuda.is_available(), torch.cuda.is_initialized(), torch.get_num_interop_threads())
print(sys.modules['__main__'].__dict__.keys() >= {'np', 'torch'})
""", how="script"),
    both("numeric_seeds_of_two", """
import subprocess, sys, torch, numpy as np, random
code = 'import torch, numpy as np, random; print(torch.initial_seed(), torch.rand(1).item(), np.random.rand(), random.random())'
mine = (torch.initial_seed(), torch.rand(1).item(), np.random.rand(), random.random())
command = sys.argv[1:] or [sys.executable]
other = subprocess.run([*command, '-c', code], capture_output=True, text=True, check=True).stdout.split()
print([a == float(b) for a, b in zip(mine, other)])
""", how="script", args=("{start}",)),
    both("numeric_at_the_end", "import torch, atexit, threading\natexit.register(lambda: print(torch.ones(2)))\n"
         "threading.Thread(target=lambda: print(torch.ones(3).sum())).start()\nx = torch.ones(10)\nraise SystemExit(4)", how="script"),
]
