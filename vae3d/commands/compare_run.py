"""`vae3d compare`: the scores of two or more runs, paired case by case."""

from vae3d.commands.compare import CompareConfig
from vae3d.comparison.comparison import compare_reports
from vae3d.comparison.console import show
from vae3d.comparison.page import write
from vae3d.comparison.reader import named_runs, read_report
from vae3d.comparison.results import Comparison
from vae3d.files.paths import user_path
from vae3d.files.sole_writer import sole_writer
from vae3d.values.naming import file_stem


def compare(config: CompareConfig) -> Comparison:
    """Compare the runs with the first one; write the tables next to its scores, or to `output`.

    Raises:
        UserError: a report is missing or damaged, or they cannot be compared.
    """
    names = named_runs(config.run)
    reports = [
        read_report(run, config.mode, name) for run, name in zip(config.run, names, strict=True)
    ]
    comparison = compare_reports(reports)
    # `compare_b_c` for runs a, b and c.
    name = file_stem(f"compare_{'_'.join(names[1:])}")
    output = user_path(config.output or reports[0].folder / name)
    with sole_writer(output):
        write(comparison, output)
    show(comparison, output)
    return comparison
