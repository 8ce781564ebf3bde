"""A store whose every word is a stranger's."""

from pathlib import Path

from support import put, stored

from harness.store.store import Store

HOSTILE = [
    "<script>window.hacked = 1</script>", "</script><script>window.hacked = 1</script>", "<!--style--><!--data-->",
    "<img src=x onerror=hacked=1>", "{{ hacked = 1 }} ${hacked = 1} `${hacked}`", '" onclick="hacked = 1',
    "javascript:hacked=1", "\u202egnp.exe\u2066", "]]>&lt;&#0;&amp;", "\x00\x1b[2J\u2028\ud800", "__proto__", "datum.x\\'",
    "شكرا 123 (x)",
]  # fmt: skip
LONG = "long " * 2_000_000  # 10 MB


def hostile(folder: Path) -> Store:
    """Return a store whose every word is a stranger's."""
    store, runs = Store(folder / "results"), []
    for k, name in enumerate(HOSTILE):
        run = stored(name, 0, (-200.0, -150.0, -130.0 - k), status="failed" if k % 2 else "done")
        run.record.run = f"evil{k}"
        run.record.reason = name
        run.spec["algorithm"]["settings"] |= {name[:99]: name, "many": [name[:50]] * 3}
        run.spec["dataset"]["name"] = name
        run.record.provenance[-1] |= {
            "machine": {"cpu": name},
            "time": name,
            "packages": {name: name},
            "warnings": [name],
        }
        run.record.provenance[-1] |= {"sources": {"algorithm": {name[:99]: name}}}
        for row in run.rows:
            row["info"] = {name: 1.0}
            row["estimates"] += [{**e, "estimator": name} for e in row["estimates"]]
            for estimate in row["estimates"]:
                estimate["diagnostics"] = {name: 0.5}
        run.record.summary = run.rows[-1]["estimates"]
        runs.append(run)
    long = stored(LONG, 1)
    long.record.run, long.record.reason, long.spec["model"]["settings"]["text"] = "long", LONG, LONG
    runs.append(long)
    put(store, runs)
    return store
