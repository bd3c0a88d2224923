from rights import STRANGER, as_root, run_script

from challenge.host.privileges import DAC_OVERRIDE

pytestmark = as_root


def test_a_user_has_no_capability_no_group_and_cannot_become_root_again(repository):
    code = """
os.setgroups([7, 8])
become(Account(12345, 23456, (44,)))
refused = []
for attempt in (lambda: os.setresuid(0, 0, 0), lambda: os.setresgid(0, 0, 0), lambda: os.setgroups([0])):
    try:
        attempt()
    except PermissionError:
        refused.append(True)
tell(refused=refused, **status())
"""
    found = run_script(repository, code)
    assert found["Uid"] == [STRANGER] * 4
    assert found["Gid"] == [23456] * 4
    assert found["Groups"] == [44]
    assert found["NoNewPrivs"] == [1]
    assert [found[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")] == [0] * 5
    assert found["refused"] == [True] * 3


def test_confined_root_keeps_only_the_named_capability(repository):
    code = """
confine({DAC_OVERRIDE})
told = status()
confine({DAC_OVERRIDE, 21})
tell(again=status() == told, **told)
"""
    found = run_script(repository, code)
    assert found["Uid"] == [0] * 4
    assert [found[name] for name in ("CapPrm", "CapEff", "CapBnd")] == [1 << DAC_OVERRIDE] * 3
    assert [found[name] for name in ("CapInh", "CapAmb")] == [0, 0]
    assert found["NoNewPrivs"] == [1]
    assert found["again"]


def test_capabilities_above_31_are_kept_and_dropped_too(repository):
    assert run_script(repository, "had = capabilities(); confine({38}); tell(**status(), had=38 in had)")["CapPrm"] in (
        0,
        1 << 38,
    )


def test_threads_that_start_later_have_no_more(repository):
    code = """
become(Account(12345, 12345))
held = threading.Event()
threads = [threading.Thread(target=held.wait) for _ in range(3)]
[thread.start() for thread in threads]
tell(all=[status(task) for task in os.listdir("/proc/self/task")])
held.set()
"""
    told = run_script(repository, code)["all"]
    assert len(told) == 4
    assert all(one["CapEff"] == one["CapBnd"] == 0 and one["NoNewPrivs"] == [1] for one in told)


def test_without_the_right_to_change_the_user_an_error_is_raised(repository):
    code = """
confine({DAC_OVERRIDE})
try:
    become(Account(12345, 12345))
except PermissionError:
    tell(refused=True, **status())
"""
    found = run_script(repository, code)
    assert found["refused"]
    assert found["Uid"] == [0] * 4


def test_rights_that_are_left_are_noticed(repository):
    code = """
try:
    become(Account(0, 0))
except RuntimeError as error:
    tell(noticed=str(error))
"""
    assert run_script(repository, code) == {"noticed": "uid 0 kept rights of root"}
