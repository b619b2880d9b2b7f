"""One distribution, `unryu`; the rooms are its top-level modules (docs/design.md, "Rooms")."""

from setuptools import find_packages, setup

setup(
    name="unryu",
    version="0.1.0",
    description="An SDN-first cloud: OpenStack's APIs, Open vSwitch programmed from one picture",
    python_requires=">=3.11",
    packages=find_packages(exclude=("tests", "tests.*", "bench", "bench.*")),
    include_package_data=True,
    package_data={"unryu": ["migrations/*.py", "migrations/*.mako", "migrations/versions/*.py"], "topology": ["plans/*.yaml"]},
    install_requires=[
        "alembic", "argon2-cffi", "click", "cryptography", "Flask", "gunicorn", "markdown-it-py", "msgpack", "netaddr",
        "openstacksdk", "os-ken", "oslo.policy", "prometheus-client", "psycopg[binary]", "pydantic",
        "pyroute2", "python-openstackclient", "PyYAML", "rich", "SQLAlchemy",
    ],
    extras_require={
        "test": ["flit_core", "hypothesis", "mypy", "openapi-spec-validator", "pytest", "pytest-xdist", "ruff", "scapy",
                 "schemathesis", "types-PyYAML"],
    },
    entry_points={
        "console_scripts": ["unryu = unryu.cli:main"],
        # A room's verbs: name on the command line = the click command. Loaded only when called.
        "unryu.commands": [
            "up = topology.cli:up",
            "down = topology.cli:down",
            "status = topology.cli:status",
            "lab = topology.cli:lab",
            "openrc = topology.cli:openrc",
            "identity = identity.cli:identity",
        ],
        "unryu.commands.host": [
            "token = controller.cli:token",
            "list = controller.cli:list_hosts",
            "remove = controller.cli:remove",
            "join = ovsagent.joining:join",
            "renew = ovsagent.joining:renew",
        ],
        # What `unryu serve NAME` runs and the supervisor starts: a function that returns when asked to stop.
        "unryu.services": [
            "api = unryu.service:serve_api",
            "controller = controller.bootstrap:serve",
            "agent = ovsagent.agent:serve",
            "supervisor = topology.supervisor:serve",
        ],
        # Called once by `unryu up`, in this order of names, before the services start: first users, say.
        "unryu.bootstrap": [
            "identity = identity.bootstrap:bootstrap",
        ],
        # Who speaks when the command line is the OpenStack client's: a project's name -> OS_* of the environment.
        "unryu.credentials": [
            "cloud = topology.credentials:environment",
        ],
        # Modules with nouns: for tables, migrations, routes and policy.
        "unryu.resources": [
            "quota = unryu.quota",
            "identity = identity.nouns",
            "network = controller.features",
            "leases = controller.leases",
            "admission = controller.admission",
        ],
        # A room's WSGI application, by the path that it is served under.
        "unryu.apis": [
            "identity = identity.api:application",
            "network = controller.api:application",
        ],
    },
)
