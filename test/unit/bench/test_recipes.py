"""`python -m bench recipes`: what the table says, and what is asked of training."""

from bench import recipes
from bench.measuring.stopwatch import Usage


def test_the_table_counts_one_step_and_one_row(monkeypatch, repository, tmp_path):
    commands = []
    used = iter((Usage(9, 10.0, 800), Usage(9, 16.0, 1234.4), Usage(0, 0, 0), Usage(1, 2.0, 700)))

    def note(command, folder):
        commands.append([str(word) for word in command])
        return next(used)

    monkeypatch.setattr(recipes, "run", note)
    (tmp_path / "csv_files").mkdir()
    (tmp_path / "csv_files" / "a.csv").write_text("image_path\n1\n2\n3\n4\n")
    row = recipes.measure(repository / "training" / "configs" / "atlas.toml", tmp_path, 2, tmp_path, ("seed=7",))
    one, three, exported, answered = commands
    assert {"optim.images=4", "optim.batch_size=2", "seed=7"} <= set(one)
    assert {"optim.images=12", "optim.batch_size=2", "seed=7"} <= set(three)
    assert exported[exported.index("export") + 1] == str(tmp_path / "run-3")
    assert "--strict" in answered
    assert recipes.table([row]).splitlines()[-1] == "| `atlas` | 256 | 2 | 3.0 | 1,234 | 500 | 700 |"
