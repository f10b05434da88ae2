from blackbox_kd.steps import train
from tests.fakes import FakeContext, outcomes, rows


async def test_the_table_and_every_setting_go_to_training_and_the_rows_pass_on() -> None:
    table = rows({"instruction": "a", "response": "b"})
    ctx = FakeContext()
    config = train.Config(step="train", model="student", r=8, epochs=3)
    assert await outcomes(train, table, config, ctx) == table
    [(model, method, settings, trained_on)] = ctx.trained
    assert (model, method, trained_on) == ("student", "sft", table)
    assert (settings["r"], settings["epochs"], settings["adapter"], settings["start"]) == (8, 3, "lora", "latest")


async def test_training_takes_the_seed_of_the_run_unless_it_has_its_own() -> None:
    ctx = FakeContext()
    await outcomes(train, [], train.Config(step="train", model="student"), ctx)
    await outcomes(train, [], train.Config(step="train", model="student", seed=3), ctx)
    assert [settings["seed"] for _, _, settings, _ in ctx.trained] == [7, 3]
