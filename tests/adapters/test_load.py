"""Many streams at once: nothing is lost, mixed up or held."""

import pytest

from unstream import Ending

pytest.importorskip("uvicorn")
pytest.importorskip("starlette")


def test_two_hundred_streams_at_once_do_not_mix() -> None:
    from tests.adapters.load import load

    done = load(200, 500, watched=True)
    assert done.n_wrong == 0
    assert len(done.outcomes) == 200
    for path, outcomes in done.outcomes.items():
        number = path.split("/")[1]
        [outcome] = outcomes
        assert outcome.ending is Ending.COMPLETE
        said = outcome.unwrap().choices[0].message.text()
        assert said == "".join(f"{number}:{at} " for at in range(500))


def test_memory_does_not_grow_with_the_streams() -> None:
    from tests.adapters.load import soak

    traced, taps = zip(*soak(8), strict=True)
    # 200 streams after the fourth round. To hold on to one takes 2 KiB at least.
    assert traced[-1] - traced[3] < 100 * 1024
    assert taps == (0,) * 8
