import numpy as np
from tests.faults.test_command_lines import *
from tests.faults.conftest import hurry
def test_fz(lines, tmp_path):
    rng = np.random.default_rng(5000)
    bad=[]
    for number in range(5000):
        name=[*COMMANDS][number % len(COMMANDS)]
        args=fuzzed(name, rng)
        if name!="compare": continue
        try: lines(*args)
        except BaseException as e: bad.append((number,args,repr(e)[:600]))
    print(lines.seen); print(bad)
    assert not bad
