"""Words of the command line that were misread before."""

from helpers import ROOT, Site


def test_the_help_of_timeout_says_first_that_it_is_that_of_the_job(site: Site) -> None:
    process = site.farm("--help")
    process.succeed(30)
    assert "stop the whole job, not a task, after this time" in " ".join(process.stdout.split())


def test_much_verbosity_shows_no_messages_of_the_lock_package(site: Site) -> None:
    process = site.farm("-v", "2", site.tasklist(["true"]))
    process.succeed(60)
    assert process.stderr
    assert "Attempting to acquire lock" not in process.stderr


def test_the_readme_and_the_demo_count_the_same_tasks() -> None:
    texts = [(ROOT / name).read_text() for name in ("README.md", "scripts/demo")]
    assert ["113 " in text and "about 40" not in text for text in texts] == [True, True]
