"""
Studies: methods x data x seeds, trained, tested and compared.

`plan.py` reads what is to be run, `schedule.py` lists the runs, `run.py` runs what is
missing by `deepreg_meta.train` and `deepreg_meta.predict`, `rows.py` measures,
`table.py` and `figure.py` show the rows.
"""
