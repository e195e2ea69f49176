# SPDX-License-Identifier: Apache-2.0
"""Serving over Ray. Needs ray in build/venv (tests/requirements.txt); machines of namespaces need root."""
