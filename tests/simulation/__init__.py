"""The machine: histories of the whole pipeline in virtual time, each drawn from one seed.

A seed decides who is there, whose clock is wrong, which parts of the world misbehave and what
everybody does; workers handle messages nested in one another, freeze, die and come back. When all
is at rest a checker that knows the promises, and nothing of how they are kept, says what is
broken. `mutants` breaks one rule at a time, and each of them has to be caught.

    .venv/bin/python -m tests.simulation --seeds 2000
    .venv/bin/python -m tests.simulation --seed 7
    .venv/bin/python -m tests.simulation --mutants
"""
