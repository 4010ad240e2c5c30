import os

import pytest

from pillarbox.flow.owner import alive, this_process


def test_this_process_lives_and_so_do_its_spools():
    assert alive(this_process())
    assert alive(this_process() + "/17")


@pytest.mark.parametrize("process", ["", "x", "1", "1:", "{ours}:1", "999999999:5", "-1:5"])
def test_others_do_not(process):
    process = process.format(ours=os.getpid())
    assert not alive(f"{os.uname().nodename}:{process}")
    assert not alive(process)


def test_a_machine_of_the_same_name_is_another():
    ours = this_process(among_nodes=True)
    machine, _, process = ours.partition(":")
    assert machine.startswith(os.uname().nodename + "+")
    assert alive(ours)
    assert not alive(f"{machine}:{process}0")
    assert alive(f"{machine}0:999999999:1")


def test_of_other_machines_nobody_knows():
    assert alive("elsewhere:1:1/17")
