"""`python -m training ...`: train networks and export them as weights."""

from functools import partial
from pathlib import Path

import click

from challenge import cli
from challenge.cli import FILE, FOLDER, Group
from challenge.errors import UserError
from challenge.host.output_files import check_outside
from model.frozen.outputs.postprocess import Postprocess
from training import options
from training.conversion.commands import CONVERSIONS
from training.studies.commands import STUDIES


@click.group(cls=Group)
def main() -> None:
    """Train a multi-task network and export it as weights that inference.py runs."""


@main.command()
@click.option("--config", "config_file", required=True, type=FILE, help="Recipe (TOML).")
@options.data
@click.option("--val-root", type=FOLDER, help="Data folder for the dev rows, instead of a part of --data-root.")
@click.option("--folds", type=click.IntRange(min=2), help="Cross-validate: train this many networks.")
@options.run_output
@click.option("--from", "start", type=FOLDER, help="Network to begin with: exported weights or a run folder.")
@options.cache
@options.overrides
@options.resume
@options.max_minutes
def train(
    config_file: Path,
    data_root: Path,
    val_root: Path | None,
    folds: int | None,
    output: Path,
    start: Path | None,
    cache: Path | None,
    overrides: tuple[str, ...],
    resume: bool,
    max_minutes: float | None,
) -> None:
    """Train a system on a challenge data folder. Start it with torchrun to use several processes."""
    from training.config import load_config

    if folds and (val_root or start):
        raise UserError("--folds cannot be combined with --val-root or --from; leave one of them out")
    check_outside(output, data_root, val_root)
    config = load_config(config_file, overrides)  # before torch is imported, which takes seconds

    from training.data.rows import DataSource
    from training.distributed import join_ranks, leave_ranks
    from training.loop.runs import cross_validate, train_run
    from training.run_folder.trainable import read_start

    source = DataSource(data_root, cache or output / "cache", val_root)
    ranks = join_ranks()
    if folds:
        cross_validate(config, source, output, ranks, folds, resume=resume, max_minutes=max_minutes)
    else:
        network = read_start(start)[0] if start else None
        train_run(config, source, output, ranks, resume=resume, max_minutes=max_minutes, start=network)
    leave_ranks()
    click.echo(f"finished; scores and curves are in {output}", err=True)


@main.command()
@options.network
@click.option("--data-root", required=True, type=FOLDER, help="Data folder with the rows of the new tasks.")
@options.run_output
@options.budget
@click.option("--keep-others", is_flag=True, help="Train only the new heads, so that all other tasks answer as before.")
@options.cache
@options.overrides
@options.resume
@options.max_minutes
def finetune(
    folder: Path,
    data_root: Path,
    output: Path,
    images: int,
    keep_others: bool,
    cache: Path | None,
    overrides: tuple[str, ...],
    resume: bool,
    max_minutes: float | None,
) -> None:
    """Add new tasks to trained weights, with a few images of each."""
    from training.config import check_overrides, with_overrides

    check_outside(output, data_root)
    check_overrides(overrides)

    from training.data.rows import DataSource
    from training.distributed import join_ranks, leave_ranks
    from training.loop.finetune import finetune_config, say_what_changed
    from training.loop.runs import train_run
    from training.run_folder.trainable import read_start

    start, base = read_start(folder)
    config = with_overrides(finetune_config(base, images, keep_others=keep_others), overrides)
    source = DataSource(data_root, cache or output / "cache")
    trainer = train_run(config, source, output, join_ranks(), resume=resume, max_minutes=max_minutes, start=start)
    leave_ranks()
    say_what_changed(start, trainer.parts.data.sizes, output, keep_others=keep_others)


@main.command()
@options.network
@click.option(
    "--data-root", required=True, type=FOLDER, help="Data folder with new rows of tasks that the network has."
)
@options.run_output
@options.budget
@options.cache
@options.overrides
@options.resume
def sync(
    folder: Path,
    data_root: Path,
    output: Path,
    images: int,
    cache: Path | None,
    overrides: tuple[str, ...],
    resume: bool,
) -> None:
    """Adapt trained weights to a new data set by training only the prompts (PerceptGuide's synchronisation)."""
    from training.config import check_overrides, with_overrides

    check_outside(output, data_root)
    check_overrides(overrides)

    from training.data.rows import DataSource
    from training.distributed import join_ranks, leave_ranks
    from training.loop.runs import train_run
    from training.loop.synchronise import check_tasks, sync_config
    from training.run_folder.trainable import read_start

    start, base = read_start(folder)
    check_tasks(start, data_root)
    config = with_overrides(sync_config(base, images), overrides)
    train_run(
        config, DataSource(data_root, cache or output / "cache"), output, join_ranks(), resume=resume, start=start
    )
    leave_ranks()
    click.echo(f"finished; next: python -m training export {output} --output DIR", err=True)


@main.command()
@options.data
@click.option("--val-root", type=FOLDER, help="Another data folder; rows that are in both are errors.")
@click.option(
    "--output",
    type=FOLDER,
    default=Path("out/inspection"),
    show_default=True,
    help="Folder for figures and findings.csv.",
)
@click.option("--fix", "clean", type=FOLDER, help="Write a data folder without the faulty rows here.")
@click.option(
    "--class-names", type=FILE, help="What the classes are called: a weights.json, or a TOML file of sources."
)
def inspect(data_root: Path, val_root: Path | None, output: Path, clean: Path | None, class_names: Path | None) -> None:
    """Check a data folder: print and draw what it holds. Exit code 1 if some rows cannot be used."""
    from challenge.class_names import read_class_names
    from training.inspection import inspect_folder, summary_lines, write_clean_folder, write_findings
    from training.inspection.pictures import draw

    check_outside(output, data_root, val_root)
    names = read_class_names(class_names) if class_names else None
    inspection = inspect_folder(data_root, val_root)
    for line in summary_lines(inspection):
        click.echo(line)
    draw(inspection, output, names)
    write_findings(inspection, output / "findings.csv")
    click.echo(f"pictures and findings.csv are in {output}", err=True)
    if clean:
        click.echo(f"{write_clean_folder(inspection, clean)} rows without faults are in {clean}", err=True)
    if inspection.has_errors:
        raise SystemExit(1)


@main.command()
@options.run
@options.run_data
@click.option("--val-root", type=FOLDER, help="Another data folder to measure on, or the run's own --val-root.")
@options.run_cache
def calibrate(run_folder: Path, data_root: Path, val_root: Path | None, cache: Path | None) -> None:
    """Fit a temperature for every classification head on the run's dev rows; `export` uses those that hold."""
    from training.data.rows import DataSource
    from training.selection.calibration import calibrate as fit
    from training.selection.calibration import check_calibration

    source = DataSource(data_root, cache or run_folder / "cache", val_root)
    found = {"dev": list(fit(run_folder, source))}
    if val_root:
        found["val"] = list(check_calibration(run_folder, source, found["dev"]))
    click.echo("| task | rows | temperature | built in | ECE before | after |\n|---|---|---|---|---|---|")
    for part, rows in found.items():
        for row in rows:
            click.echo(row.text(part))


@main.command()
@options.run
@options.run_data
@options.score_root
@options.run_cache
@click.option(
    "--set",
    "overrides",
    multiple=True,
    help="Override a value of the recipe, such as how a head decodes: section.key=value. Can be repeated.",
)
def score(
    run_folder: Path, data_root: Path, val_root: Path | None, cache: Path | None, overrides: tuple[str, ...]
) -> None:
    """Print the official scores of a run."""
    from training.data.rows import DataSource
    from training.selection.run_scores import score_run

    source = DataSource(data_root, cache or run_folder / "cache", val_root)
    click.echo(score_run(run_folder, source, overrides))


@main.command()
@options.runs
@options.run_data
@click.option("--val-root", type=FOLDER, help="The run's own --val-root, if it had one.")
@options.run_cache
def refine(runs: tuple[Path, ...], data_root: Path, val_root: Path | None, cache: Path | None) -> None:
    """Find on the dev rows which post-processing each task gains from, for all RUNs; `export` records the choice."""
    from training.data.rows import DataSource
    from training.selection.refinement import VARIANTS
    from training.selection.refinement import refine as choose

    click.echo(f"| task | score | {' | '.join(VARIANTS)} |\n|---|---|{'---|' * len(VARIANTS)}")
    for choice in choose(runs, DataSource(data_root, cache or runs[0] / "cache", val_root)):
        cells = " | ".join(choice.text(name) for name in VARIANTS)
        click.echo(f"| {choice.task_id} | {choice.metric.name} | {cells} |")


@main.command()
@options.runs
@click.option("--output", required=True, type=FOLDER, help="Run folder for the averaged network.")
@click.option(
    "--reinitialise",
    "reinitialised",
    multiple=True,
    metavar="TASK",
    help="Task with a reinitialised head: keep the first run's head. Can be repeated.",
)
@click.option("--anew", multiple=True, hidden=True, expose_value=False, callback=options.renamed("--reinitialise"))
def average(runs: tuple[Path, ...], output: Path, reinitialised: tuple[str, ...]) -> None:
    """Average the weights of runs that began with the same network (`train --from`, different seeds)."""
    from training.run_folder.averaging import average_runs

    average_runs(runs, output, reinitialised)
    click.echo(f"finished; next: python -m training score {output} --data-root DIR", err=True)


@main.command()
@options.runs
@options.weights_output
@click.option("--scores", type=FILE, help="JSON file of `evaluate score`, for weights.json and the model card.")
@click.option("--sources", type=FILE, help="TOML file with the source, licence and class names of each task.")
@click.option(
    "--precision",
    "reduced",
    multiple=True,
    type=click.Choice(["bfloat16", "tf32", "float16"]),
    help="Let inference.py choose this precision too. Say so only if --scores were measured in it.",
)
@click.option(
    "--postprocess",
    default="none",
    type=click.Choice(Postprocess, case_sensitive=False),
    show_default=True,
    help="How much of the post-processing that `refine` chose inference.py does by default.",
)
@click.option(
    "--card",
    default="plain",
    type=click.Choice(["plain", "hub"]),
    show_default=True,
    help="hub: the model card begins with the front matter that model hubs read.",
)
@options.answered_by
@click.option("--overwrite", is_flag=True, help="Replace the files in OUTPUT, such as another network's weights.")
def export(
    runs: tuple[Path, ...],
    output: Path,
    scores: Path | None,
    sources: Path | None,
    reduced: tuple[str, ...],
    postprocess: Postprocess,
    card: str,
    answered_by: dict[str, Path],
    overwrite: bool,
) -> None:
    """Export a RUN, or several that then answer together, as weights that inference.py runs, with a model card."""
    from training.export.ensemble import export_runs
    from training.export.hub_card import for_hubs
    from training.export.run import summary

    write = partial(export_runs, default_postprocess=postprocess, overwrite=overwrite, answered_by=answered_by)
    facts = write(runs, output, scores, sources, reduced)
    if card == "hub":
        for_hubs(output, facts, scores)
    click.echo(f"{summary(facts, output)} in {output}")


for command in (*STUDIES, *CONVERSIONS):
    main.add_command(command)


def run() -> int:
    """Run the command line and return its exit code; the last line on stderr says what went wrong.

    2 for a user's error, 1 for a full disk or a fault of the program, 128 + n for a run that signal n ended.
    """
    return cli.run(main, "python -m training")


if __name__ == "__main__":
    raise SystemExit(run())
