"""Whatever docs/fleet.md and certflip-fleet(1) show is run as it stands there; see test_every_command_shown_runs.py."""

from lib.documents import TOP, blocks_of, follow, literal, shortened


def test_commands_of_the_document(machine):
    follow(TOP / "docs/fleet.md", machine)


def test_examples_of_certflip_fleet(machine):
    """With the campaign file of docs/fleet.md, at one gateway."""
    (conf,) = [block for block in blocks_of(TOP / "docs/fleet.md") if block.script.startswith("cat >new-ca.conf")]
    machine.run("centre; cd /root/campaign")
    machine.run(shortened(conf.script.replace("new-ca.conf", "ca-2027.conf")))
    examples = [block for block in literal("src/fleet/certflip-fleet.1") if block.startswith("certflip-fleet ")]
    assert len(examples) >= 4
    for example in examples:
        machine.run(example.replace("certflip-fleet ", "certflip-fleet --yes ", 1), timeout=120)
