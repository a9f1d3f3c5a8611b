"""Stand-ins for the Apollo and Outreach HTTP APIs, served by one real HTTP server on one port.

Run ``python -m sandbox``, or use ``sandbox.server.running_sandbox`` in a test. The data, the
credentials and the control API are described in this package's README.
"""
