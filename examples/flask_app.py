"""A small web service over S3: health, list files, upload a file. Its routes know nothing of Vault.

Run it with the environment of an application::

    export VAULT_ADDR=https://vault.example.com:8200 VAULT_ROLE_ID=... VAULT_SECRET_ID=... AWS_ROLE=webapp
    export S3_BUCKET=webapp-files
    pip install flask vault-credential-process
    flask --app examples/flask_app.py run
"""

from __future__ import annotations

import os

import botocore.exceptions
import hvac.exceptions
import requests
from flask import Flask, Response, jsonify, request
from werkzeug.utils import secure_filename

from vault_credential_process import VaultAWSCredentialManager, VaultCredentialError

VAULT_AWAY = (VaultCredentialError, hvac.exceptions.VaultError, requests.RequestException)


def create_app() -> Flask:
    """Make the service; the one client it makes at start-up works for weeks."""
    app = Flask(__name__)
    manager = VaultAWSCredentialManager()
    bucket = os.environ["S3_BUCKET"]
    s3 = manager.get_s3_client()

    @app.get("/health")
    def health() -> tuple[Response, int]:
        """Tell whether the service can log in to Vault."""
        try:
            authenticated = manager.vault_client.is_authenticated()
        except VAULT_AWAY as error:
            app.logger.error("%s", error)
            authenticated = False
        return jsonify(authenticated=authenticated, role=manager.aws_role), 200 if authenticated else 503

    @app.get("/files")
    def list_files() -> Response:
        """List the files in the bucket."""
        pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket)
        return jsonify([item["Key"] for page in pages for item in page.get("Contents", [])])

    @app.post("/files")
    def upload_file() -> tuple[Response, int]:
        """Put the uploaded file into the bucket."""
        upload = request.files.get("file")
        name = secure_filename(upload.filename or "") if upload else ""
        if not upload or not name:
            return jsonify(error="send the file as form field 'file'"), 400
        s3.upload_fileobj(upload.stream, bucket, name)
        return jsonify(name=name), 201

    @app.errorhandler(botocore.exceptions.BotoCoreError)
    @app.errorhandler(botocore.exceptions.ClientError)
    def unavailable(error: Exception) -> tuple[Response, int]:
        """Answer 503 while AWS, or the way to its credentials, is not there."""
        app.logger.error("%s", error)
        return jsonify(error="storage is not available"), 503

    return app
