"""The same program with one line more: credentials are fetched inside the process, without a subprocess."""

import pathlib
import runpy

import vault_credential_process

vault_credential_process.install()
runpy.run_path(str(pathlib.Path(__file__).with_name("list_buckets.py")), run_name="__main__")
