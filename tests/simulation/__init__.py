"""A deterministic simulation: real workers on a small Kafka and a small Redis, seeded (`docs/simulation.md`).

Read `loop` and `process` (a worker without a machine), `kafka`, `redis`, `lua` and `faust` (what it talks to), `market`
(what goes in), `truth` and `laws` (what must come out), `steps`, `happenings` and `scheduler` (what happens), `rest` and
`history` (how it ends), `mutants` (what is broken on purpose).
"""
