"""The attack table (facts, mcp 5): each row, and the tests that try it against a running server.

A row whose test is gone, or renamed, fails here. What a row asks for that we do not have is said
in its comment; SECURITY.md has the limits.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
ROWS: dict[str, tuple[str, ...]] = {
    "rug pull": (
        "server/test_tool_safety.py::test_rug_pull_what_changed_is_refused_and_not_shown",
        "server/test_tool_safety.py::test_rug_pull_a_person_approves_what_they_have_looked_at",
        "server/test_tool_safety.py::test_rug_pull_of_a_declared_tool_by_who_may_not_approve",
        "server/test_federated.py::test_a_rug_pull_is_shown_to_nobody_and_called_by_nobody",
    ),
    "tool poisoning": (
        "server/test_tool_safety.py"
        "::test_tool_poisoning_what_hides_in_a_new_tool_is_held_back_at_first_sight",
        "server/test_tool_safety.py"
        "::test_tool_poisoning_what_hides_in_an_answer_is_taken_out_and_told",
    ),
    "shadowing, collision": (
        "server/test_tool_safety.py::test_shadowing_no_server_takes_the_name_of_another",
        "server/test_registration.py::test_nobody_takes_a_name_of_the_house",
        "server/test_registration.py::test_one_owner_cannot_touch_anothers_tool",
        "upstream/test_names.py::test_names_of_the_house_and_reserved_ones_are_never_anothers",
    ),
    "token passthrough": (
        "server/test_nothing_travels_on.py::test_nothing_of_who_calls_travels_on",
        "server/test_federated.py::test_no_credential_of_the_client_reaches_the_server",
    ),
    # No tokens of an issuer yet: a JWT of any kind is no key.
    "wrong audience": (
        "server/test_attacks_at_the_door.py"
        "::test_a_token_of_another_issuer_resource_or_algorithm_is_no_key",
        "server/test_attacks_at_the_door.py"
        "::test_a_key_in_any_other_place_than_its_header_is_no_key",
        "server/test_rest.py::test_a_role_or_a_glob_that_does_not_fit_is_denied_on_record",
        "server/test_mcp.py::test_a_viewer_sees_no_tool_that_it_may_not_call",
    ),
    # We proxy no OAuth.
    "confused deputy": (
        "server/test_attacks_at_the_door.py::test_confused_deputy_no_route_of_oauth_answers",
    ),
    "SSRF": (
        "server/test_egress_over_the_wire.py"
        "::test_over_the_wire_no_tool_is_registered_that_calls_the_inside",
        "server/test_egress_over_the_wire.py"
        "::test_over_the_wire_a_tool_whose_name_flips_or_redirects_gets_nowhere",
        "upstream/test_egress.py::test_a_name_that_flips_cannot_answer_check_and_call_differently",
    ),
    "DNS rebinding, CSRF": (
        "server/test_attacks_at_the_door.py"
        "::test_no_page_reaches_any_route_by_rebinding_or_across_sites",
        "server/test_attacks_at_the_door.py::test_a_form_of_a_page_is_no_request_on_any_route",
        "server/test_attacks_at_the_door.py::test_a_page_gets_nothing_done_where_no_key_is_needed",
        "server/test_rest.py::test_a_foreign_host_or_origin_is_refused_on_every_route",
    ),
    "session or state handle hijack": (
        "server/test_mcp.py::test_a_session_is_not_found_by_who_did_not_open_it",
        "server/test_tasks.py::test_with_a_tasks_id_another_gets_nowhere",
        "server/test_consent.py::test_a_forged_state_speaks_for_nobody_else",
        "server/test_consent.py::test_a_state_that_was_made_up_names_no_approval",
    ),
    "header and body mismatch": (
        "server/test_attacks_at_the_door.py::test_a_header_that_says_echo_runs_no_other_tool",
        "server/test_fast.py::test_odd_requests_are_answered_as_the_sdk_answers_them",
        "server/test_rest.py::test_a_header_that_decides_may_not_come_twice",
    ),
    "stdio upstream RCE": (
        "server/test_attacks_at_the_door.py::test_over_the_wire_nobody_names_a_program",
        "upstream/test_stdio.py::test_words_of_the_argv_reach_no_shell",
        "upstream/test_stdio.py::test_one_program_serves_every_call_and_inherits_nothing",
        "upstream/test_stdio.py::test_its_whole_tree_is_killed_in_the_end",
    ),
    "plugin supply chain": (
        "test_plugin_trust.py::test_what_is_not_what_was_trusted_stops_the_start",
        "test_plugin_trust.py::test_bytecode_beside_it_is_not_read",
        "test_plugin_trust.py::test_what_the_publisher_did_not_sign_is_not_trusted",
    ),
    "secret leakage": ("server/test_secret_leak.py::test_no_canary_is_in_any_output",),
    "replay of approvals": (
        "server/test_approvals.py::test_another_argument_is_not_what_was_approved",
        "server/test_approvals.py::test_an_approval_is_good_for_one_call",
        "server/test_approvals.py::test_an_approval_of_somebody_else_does_not_count",
        "server/test_approvals.py::test_an_approval_expires",
        "server/test_approvals.py::test_a_tool_that_has_changed_is_not_what_was_approved",
        "server/test_approvals.py::test_an_approval_under_another_policy_does_not_count",
    ),
    "cache leak": (
        "server/test_fair_use.py::test_two_who_ask_the_same_get_each_its_own_answer",
        "server/test_fair_use.py::test_what_an_answer_depends_on_makes_another_one",
    ),
    "resource exhaustion": (
        "server/test_exhaustion.py::test_a_body_that_asks_for_too_much_is_refused",
        "server/test_exhaustion.py::test_an_answer_of_a_hundred_megabytes_fails_and_is_not_copied",
        "server/test_exhaustion.py::test_a_pattern_that_takes_for_ever_does_not",
        "server/test_fair_use.py::test_only_so_many_calls_of_a_key_wait_at_once",
    ),
    "audit tampering": (
        "server/test_audit_attacks.py::test_the_api_names_the_row_that_was_touched",
        "server/test_audit_attacks.py::test_a_chain_that_was_made_anew_is_not_what_was_signed",
        "server/test_audit_attacks.py::test_what_was_touched_stays_said_while_the_server_goes_on",
        "audit/test_tampering.py::test_the_first_wrong_row_is_named",
    ),
    "list varying per connection": (
        "server/test_search.py::test_the_same_key_sees_the_same_list_on_every_connection",
    ),
}


@pytest.mark.parametrize("row", ROWS)
def test_each_row_of_the_attack_table_has_tests_that_are_there(row: str) -> None:
    assert ROWS[row], row
    for node in ROWS[row]:
        path, name = node.split("::")
        tree = ast.parse((TESTS / path).read_text("utf-8"))
        functions = {
            one.name: one
            for one in tree.body
            if isinstance(one, (ast.FunctionDef, ast.AsyncFunctionDef))
        }
        assert name in functions, node
        marks = ast.unparse(ast.List(functions[name].decorator_list, ast.Load()))
        assert "skip" not in marks, f"{node} is not run everywhere"
        assert "xfail" not in marks, node


def test_no_row_is_missing() -> None:
    assert len(ROWS) == 18, "the table has eighteen rows"
