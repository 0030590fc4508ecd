"""The figures in the README are those of the history, and a run that cannot stand for all does not get there."""

from dataclasses import replace
from xml.etree import ElementTree

import pytest

from bench import goals, history, plot, readme
from bench.workloads import Workload, chosen, full, usual
from tests.bench import sample


def test_the_readme_shows_the_last_whole_run() -> None:
    recorded = readme.shown(history.read())
    assert readme.README.read_text() == readme.written(readme.README.read_text(), recorded), (
        "run: python -m bench.readme"
    )
    assert readme.PICTURE.read_text() == plot.svg(recorded), "run: python -m bench.readme"


def test_only_whole_runs_against_etcd_are_shown() -> None:
    old, new = sample.whole(), sample.whole("2026-01-03T00:00:00Z")
    narrow = replace(new, plan=new.plan[:-1])
    other = replace(new, programs={**new.programs, "theirs": {"name": "other", "version": "1"}})
    for lesser in (narrow, other, replace(new, took=None)):
        assert readme.shown([old, lesser]) is old
    assert readme.shown([old, new, narrow]) is new
    with pytest.raises(readme.NoRunError, match="no whole run"):
        readme.shown([narrow])


def test_a_readme_without_a_place_is_refused_and_one_with_it_keeps_the_rest() -> None:
    with pytest.raises(readme.NoRunError, match="has no lines"):
        readme.written("# corenode\n", sample.whole())
    text = f"before\n{readme.BEGIN}old\n{readme.END}behind\n"
    new = readme.written(text, sample.whole())
    assert new.startswith(f"before\n{readme.BEGIN}")
    assert new.endswith(f"{readme.END}behind\n")
    assert "old" not in new
    assert readme.written(new, sample.whole()) == new


def test_figures_are_medians_and_ratios_those_of_pairs() -> None:
    text = readme.section(sample.whole(ours=3000, theirs=2000))
    # Pairs 3000:2000, 6000:2000, 3000:4000.
    assert "| v2 PUT, 64 conn. | 3,000 : 2,000 | 1.50 | 0.75 to 3.00 |" in text
    assert "| v2 PUT, 256 conn. | ≥ 1.2 | 1.50 | yes |" in text
    assert "| v3 put, 64 conn. | ≥ 1.75 | 1.50 | **no** |" in text
    assert "| start to the first PUT answered | ≤ 1 s | 0.50 s | yes |" in text


def test_a_row_with_failures_has_no_ratio_and_reaches_no_goal() -> None:
    recorded = sample.whole()
    row = next(each for each in recorded.results if each.workload == Workload("v2 PUT", 64))
    row.runs["ours"][1] = sample.run(9000, failed=3)
    assert row.problem == "3 failed"
    assert "| v2 PUT, 64 conn. | failed |" in readme.section(recorded)
    assert "v2 PUT, 64 conn." not in {each.goal.name for each in goals.reached(recorded)}
    assert ">v2 PUT, 64 conn.<" not in plot.svg(recorded)


def test_the_picture_is_well_formed_and_shows_each_row() -> None:
    drawn = ElementTree.fromstring(plot.svg(sample.whole()))
    texts = {each.text for each in drawn.iter("{http://www.w3.org/2000/svg}text")}
    assert texts >= set(map(str, usual()))
    assert len(list(drawn.iter("{http://www.w3.org/2000/svg}rect"))) == len(list(usual()))
    assert plot.at(0.01) == plot.at(0.25) < plot.at(0.5) < plot.at(1) < plot.at(4) < plot.at(8) == plot.at(9)


def test_every_goal_has_its_row_and_every_row_a_name_of_its_own() -> None:
    names = [str(workload) for workload in usual()]
    assert len(set(names)) == len(names)
    assert len({str(workload) for workload in full()}) == len(list(full()))
    assert len(list(goals.reached(sample.whole()))) == len(goals.GOALS)
    assert [str(each) for each in chosen(["v3 PUT, 64 conn., mutual", "fan-out"], usual())] == [
        "v3 watch fan-out, 1000 conn.",
        "v3 put, 64 conn., mutual TLS",
    ]
