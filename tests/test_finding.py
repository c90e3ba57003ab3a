"""A part is there, missing, or broken; the text of all of them is aligned and sums up."""

from gpuload.tools.finding import WIDTH, Finding, Status, as_text


def test_the_text_shows_findings_and_sums_up() -> None:
    found = [
        Finding("torch", Status.OK, "2.14.1", None),
        Finding("GPU", Status.OPTIONAL, "none, " + "really " * 30, "apt-get install gpu"),
    ]
    lines = as_text(found).splitlines()
    assert lines[0] == "ok                torch  2.14.1"
    assert lines[1].startswith("optional-missing  GPU    none, really")
    assert lines[2].startswith(" " * 25 + "really")
    assert lines[-3] == " " * 25 + "-> apt-get install gpu"
    assert lines[-1] == "All that gpuload needs is here."
    assert all(len(line) <= WIDTH for line in lines)
    found.append(Finding("Pillow", Status.MISSING, "12", "pip"))
    assert as_text(found).splitlines()[-1] == "Missing: Pillow"
