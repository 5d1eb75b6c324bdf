"""
Studies: methods x data x seeds, trained, tested and compared.

`plan.py` reads what is to be run, `schedule.py` lists the runs, `run.py` runs what is
missing by `deepreg_meta.train` and `deepreg_meta.predict`, in several processes of
`worker.py`, `rows.py` measures, `timing.py` times the methods one by one, `table.py`
and `figure.py` show the rows.
"""
