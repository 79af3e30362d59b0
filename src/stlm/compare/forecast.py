"""What a comparison will take, said before it begins."""

from __future__ import annotations

import dataclasses
import statistics

from stlm.compare.job import Run
from stlm.compare.plan import Plan, make_plan
from stlm.compare.record import Recorded
from stlm.report.quantities import duration
from stlm.train.cli_args import described


@dataclasses.dataclass(frozen=True)
class Work:
    """The runs of a comparison and where they are carried out. at_once: how many at the same time. threads: of each. cores: of
    this machine; 0 on a cluster.
    """

    plan: Plan
    recorded: Recorded
    at_once: int
    threads: int
    cores: int

    @property
    def missing(self) -> list[Run]:
        """The runs to carry out, those first that others build on."""
        here = [run for _, _, run in self.plan.runs() if run.name not in self.recorded.runs]
        first = [run for run in self.plan.first.values() if any(run.name in other.after for other in here)]
        return [run for run in {run.name: run for run in [*first, *here]}.values() if not run.finished]

    def lines(self) -> list[str]:
        """The plan in words."""
        recipe, missing = self.plan.recipe, self.missing
        runs = {run.name for _, _, run in self.plan.runs()}
        trained = len(runs) - sum(run.name in runs for run in missing)
        extra = sum(run.name not in runs for run in missing)
        out = [f"{_n(len(runs), 'run')}: {_n(len(recipe.arms), 'arm')}, {_n(len(recipe.seeds), 'seed')}; {trained or 'none'} "
               f"finished already, {len(runs) - trained} to train" + (f", after {extra} that others build on" if extra else "")]
        if self.recorded.runs:
            out.append(f"{_n(len(self.recorded.runs), 'run is', 'runs are')} in the record already; to run them again, "
                       f"delete results/{self.plan.name}")
        out += [f"{' and '.join(map(repr, arms))} describe the same run" for arms in self._alike()]
        return out + (self._cost(missing) if missing else [])

    def _alike(self) -> list[list[str]]:
        """Arms that have the same run."""
        by_run: dict[str, list[str]] = {}
        for arm, runs in self.plan.arms.items():
            by_run.setdefault(runs[self.plan.recipe.seeds[0]].name, []).append(arm)
        return [arms for arms in by_run.values() if len(arms) > 1]

    def _cost(self, missing: list[Run]) -> list[str]:
        at_once = min(self.at_once, len(missing))
        if not self.cores:
            place = f"up to {at_once} at a time on the cluster"
        else:
            place = f"{at_once} at a time, {_n(self.threads, 'thread')} each, on {_n(self.cores, 'core')}"
        times = self._seconds(missing)
        if times:
            cost = f"about {duration(max(max(times), sum(times) / at_once))} of training, start-up and scoring come on top"
        else:
            cost = "how long they take is said when the first has ended"
        out = [f"{place}: {cost}"]
        if at_once > self.cores > 0:
            out.append(f"more runs at a time than cores: each is slower"
                       f"{', and learns less in its minutes' if self.plan.recipe.equal == 'minutes' else ''}; "
                       f"--jobs {self.cores} uses all cores")
        return out + self._other_threads()

    def _seconds(self, missing: list[Run]) -> list[float]:
        """Seconds of training of each missing run: as it is given, or as finished runs of its arm, or of all arms, took. Empty
        if nothing is known.
        """
        took = {arm: [self.recorded.runs.get(run.name, {}).get("seconds") or run.found()["seconds"] for run in runs.values()
                      if run.name in self.recorded.runs or run.finished] for arm, runs in self.plan.arms.items()}
        usual = [seconds for found in took.values() for seconds in found]
        out = []
        for run in missing:
            minutes = described(run.words)[0].train.minutes
            own = [seconds for arm, _ in self.plan.places(run) for seconds in took[arm]]
            if minutes is None and not usual:
                return []
            out.append(60 * minutes if minutes is not None else statistics.fmean(own or usual))
        return out

    def _other_threads(self) -> list[str]:
        """A line for finished runs that don't count here because they had another number of threads."""
        jobs = {self.cores // n: n for n in range(self.cores, 0, -1)}  # the smallest --jobs for each number of threads
        own, out = {run.name for _, _, run in self.plan.runs()}, []
        for threads in sorted(jobs.keys() - {self.threads}):
            others = {run.name: run for _, _, run in make_plan(self.plan.arguments, self.plan.recipe, threads).runs()
                      if run.name not in own}
            if not others:  # no run is given minutes
                break
            if n := sum(name in self.recorded.others or run.finished for name, run in others.items()):
                out.append(f"{_n(n, 'finished run')} had {_n(threads, 'thread')} each; minutes on "
                           f"{_n(self.threads, 'thread')} come to something else, so they are trained again "
                           f"(--jobs {jobs[threads]} uses them)")
        return out


def _n(count: int, one: str, several: str = "") -> str:
    return f"{count} {one if count == 1 else several or one + 's'}"
