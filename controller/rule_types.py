"""The kinds of QoS rules, and what they may say: `/qos/rule-types`."""

from typing import Any

from unryu.errors import Forbidden, NotFound
from unryu.resource import Resource
from unryu.rest import Api, described

DRIVER = "openvswitch"  # every client knows that name


def routes(api: Api) -> None:
    kinds = {noun.word.removesuffix("_rule"): noun for noun in api.served if noun.within == "qos_policy_id"}
    parameter = {"parameter_name": str, "parameter_type": str, "parameter_values": (dict[str, int], [int], [str])}
    details = {"type": str, "drivers": [{"name": str, "supported_parameters": [parameter]}]}

    @api.app.get(f"{api.dialect.prefix}/qos/rule-types")
    @described("List the kinds of QoS rules: all that there are hold.", query={"all_supported": bool, "all_rules": bool},
               answers={200: {"rule_types": [{"type": str}]}})
    def list_rule_types() -> Any:
        _ = api.context  # a token, whoever's
        return {"rule_types": [{"type": kind} for kind in sorted(kinds)]}

    @api.app.get(f"{api.dialect.prefix}/qos/rule-types/<kind>")
    @described("Show what a kind of QoS rules may say.", answers={200: {"rule_type": details}})
    def show_rule_type(kind: str) -> Any:
        if not api.context.is_admin:
            raise Forbidden("Only an administrator may look at what the cloud is made of.")
        if kind not in kinds:
            raise NotFound(f"Rule type {kind} could not be found.", "QosRuleTypeNotFound")
        return {"rule_type": {"type": kind, "drivers": [{"name": DRIVER, "supported_parameters": _parameters(kinds[kind])}]}}


def _parameters(noun: type[Resource]) -> list[dict[str, Any]]:
    said = []
    for name, f in noun.fields.items():
        if f.put:
            schema = getattr(f.check, "schema", {})
            values = schema.get("enum") or {"start": schema["minimum"], "end": schema["maximum"]}
            said.append({"parameter_name": name, "parameter_type": "choices" if "enum" in schema else "range",
                         "parameter_values": values})
    return said
