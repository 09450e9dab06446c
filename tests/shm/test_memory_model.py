"""The protocols on a weak memory: the right forms are never wrong, each deliberate mistake is seen."""

import pytest

from tests.shm.model import MODELS, explore, fence, load, store

CORRECT = [(m, form) for m, model in MODELS.items() for form in model.correct]
MUTANTS = [(m, mutant) for m, model in MODELS.items() for mutant in model.mutants]


@pytest.mark.parametrize(("name", "form"), CORRECT)
def test_correct_form_is_never_wrong(name: str, form: str) -> None:
    result = MODELS[name].run(**MODELS[name].correct[form])
    assert result.bad == 0, result
    assert result.good > 0, result  # a reader that refuses everything would be right, too
    assert result.refused > 0, result  # and one that is never overtaken shows nothing


@pytest.mark.parametrize(("name", "mutant"), MUTANTS)
def test_mutant_is_seen(name: str, mutant: str) -> None:
    result = MODELS[name].run(**MODELS[name].mutants[mutant])
    assert result.bad > 0, f"the model is blind to {mutant!r}: {result}"


def _outcomes(writer: list, reader: list, **memory: object) -> set[str]:  # type: ignore[type-arg]
    return set(explore([writer, reader], dict(memory), lambda regs: repr((regs[0], regs[1]))))


def test_machine_on_litmus_tests() -> None:
    """The machine itself, on the textbook's examples: what must be possible is, what must not is not."""
    #   message passing: the flag may overtake the data on both sides, unless release and acquire forbid it
    weak = [store("x", 1), store("y", 1)], [load("y"), load("x")]
    strong = [store("x", 1), store("y", 1, "rel")], [load("y", "acq"), load("x")]
    fences = [store("x", 1), fence("rel"), store("y", 1)], [load("y"), fence("acq"), load("x")]
    assert "((), (1, 0))" in _outcomes(*weak, x=0, y=0)
    assert "((), (1, 0))" not in _outcomes(*strong, x=0, y=0)
    assert "((), (1, 0))" not in _outcomes(*fences, x=0, y=0)
    assert "((), (1, 1))" in _outcomes(*strong, x=0, y=0)
    #   a release store alone does not keep what follows it from being early: why append begins with a fence
    early = [store("x", 1, "rel"), store("y", 1)], [load("y", "acq"), load("x")]
    assert "((), (1, 0))" in _outcomes(*early, x=0, y=0)
    #   store buffering: release and acquire allow it, full fences forbid it
    sb = [store("x", 1), load("y")], [store("y", 1), load("x")]
    sb_full = [store("x", 1), fence("full"), load("y")], [store("y", 1), fence("full"), load("x")]
    assert "((0,), (0,))" in _outcomes(*sb, x=0, y=0)
    assert "((0,), (0,))" not in _outcomes(*sb_full, x=0, y=0)
    #   one word is always coherent
    assert "((), (1, 0))" not in _outcomes([store("x", 1)], [load("x"), load("x")], x=0)
