"""aiobotocore's sessions: one fetch for all, nothing on the loop's thread, and the truth while Vault is away."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import pathlib
import subprocess
import sys
import threading
import time
from typing import Any

import aiobotocore.session
import botocore.exceptions
import pytest

import vault_credential_process
from vault_credential_process import aio, healing, keeper
from vault_credential_process.errors import PermissionDeniedError, SealedError
from vault_credential_process.keeper import keepers
from vault_credential_process.testing.scripted import reply, silence

from .conftest import BUCKET, CHAINED_ROLE_ARN, ENDED, GOOD, READ, SEALED, Ear, Vault, lease, run, sync_keeper, until

HERE = pathlib.Path(__file__).parent
