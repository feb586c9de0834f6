"""What people type at Pulumi: the table of docs/reliability.md, and which tests stand behind each row."""

from __future__ import annotations

from dataclasses import dataclass

HEADING = "## What people type"


@dataclass(frozen=True)
class Operation:
    """A row. Every test that it names is there; `test_reliability` sees to that."""

    typed: str
    on: str
    tests: tuple[str, ...]  # `file.py::test`, below tests/lifecycle (in memory) or tests/e2e (the lab)
    stays: str = "everything"  # what is as it was: same links, same containers, same addresses, same data

    @property
    def cells(self) -> tuple[str, ...]:
        """As in the table."""
        where = {"lifecycle": "memory", "e2e": "lab"}
        tried = dict.fromkeys(where[test.partition("/")[0]] for test in self.tests)
        return self.typed, self.on, ", ".join(tried), self.stays


MATRIX = "lifecycle/test_matrix.py::test_an_operation_costs_nothing_but_what_it_is_about"
CHANGES = "lifecycle/test_changes.py::test_"
DOCKED = "lifecycle/test_docker.py::test_"
ROUTER = "lifecycle/test_operations.py::test_"
OUTLIVE = "e2e/test_outlive.py::test_"
PEOPLE = "e2e/test_people.py::test_"

EVERY = "every kind of resource"
REPLACED = "all but the container or docker network that it names; who is on that network runs on"
ROWS = (
    Operation(
        "`up --target-replace`",
        EVERY,
        (MATRIX, f"{OUTLIVE}containers_outlive_their_links_and_networks"),
        REPLACED,
    ),
    Operation("`up --replace`; `state taint`, `up`", EVERY, (MATRIX,), REPLACED),
    Operation(
        "`state delete`, `up`",
        EVERY,
        (MATRIX,),
        "links, rules, addresses, data; docker objects that the state has forgotten are made anew",
    ),
    Operation("`up --target`, `up --exclude`", EVERY, (MATRIX,)),
    Operation("`up --refresh`", "all of it", (f"{DOCKED}a_fabric_with_containers_comes_stays_and_goes",)),
    Operation("`destroy --target`, `up`", EVERY, (MATRIX,), "all that it does not name"),
    Operation(
        "`preview --save-plan`, `up --plan`",
        "all of it, and a change",
        (f"{CHANGES}an_update_keeps_to_the_plan_of_a_preview",),
        "what is planned is done",
    ),
    Operation(
        "Ctrl-C, `up`",
        "at three moments of the first `up`",
        (f"{CHANGES}an_update_that_somebody_interrupts",),
        "the next `up` does the rest",
    ),
    Operation(
        "`refresh` while a host is down",
        "a host with containers",
        (f"{CHANGES}a_refresh_while_a_host_is_down",),
    ),
    Operation(
        "`stack rename`",
        "all of it",
        (
            f"{ROUTER}a_stack_or_a_project_with_another_name_keeps_its_fabric",
            f"{PEOPLE}names_are_what_people_change",
        ),
    ),
    Operation(
        "another `name:` of the project",
        "a router",
        (f"{ROUTER}a_stack_or_a_project_with_another_name_keeps_its_fabric",),
    ),
    Operation(
        "`stack export`, `stack import` elsewhere",
        "where the hosts have other aliases",
        (f"{CHANGES}the_state_in_another_checkout_that_knows_the_hosts_by_other_names",),
    ),
    Operation(
        "the state is lost, `up`",
        "all of it",
        (f"{CHANGES}a_state_that_is_lost_costs_no_address", f"{PEOPLE}a_state_that_is_lost_costs_no_data"),
        "links, rules, addresses, data; docker objects are made anew",
    ),
    Operation(
        "another key for a host",
        "with containers, and a router",
        (
            f"{CHANGES}hosts_are_called_otherwise_and_change_places",
            f"{ROUTER}a_host_with_another_key_keeps_its_fabric",
            f"{PEOPLE}names_are_what_people_change",
        ),
    ),
    Operation(
        "another `address:` of the same machine",
        "a router",
        (f"{ROUTER}a_host_with_another_key_and_another_address_has_to_answer",),
    ),
    Operation(
        "another `address:`, another machine",
        "a router",
        (
            f"{ROUTER}another_machine_at_the_same_key_takes_everything_over",
            f"{ROUTER}another_machine_in_place_of_one_that_is_gone_gets_everything_in_the_first_run",
        ),
        "the new machine has everything in the first `up`, the former nothing if it answers",
    ),
    Operation(
        "the addresses of two hosts exchanged",
        "with containers",
        (f"{CHANGES}hosts_are_called_otherwise_and_change_places", f"{PEOPLE}names_are_what_people_change"),
        "addresses; containers are where the file has them now",
    ),
    Operation(
        "another `host:` for a container",
        "fixed and automatic address, one and two networks, and back",
        (
            f"{DOCKED}a_container_moves_and_the_others_run_on",
            f"{CHANGES}two_containers_change_places",
            f"{PEOPLE}containers_addresses_and_data_outlive_what_people_do",
        ),
        "addresses, and all other containers",
    ),
    Operation(
        "another `host:`, `lost: true`",
        "all containers of a host that is gone",
        (
            f"{CHANGES}containers_move_from_a_host_that_is_lost",
            f"{PEOPLE}containers_move_from_a_host_that_is_lost",
        ),
        "addresses, and all other containers",
    ),
    Operation("another gateway, and back", "with containers", (f"{CHANGES}another_gateway",)),
    Operation(
        "another name for a network",
        "one of two",
        (
            f"{CHANGES}links_and_networks_are_made_anew_under_running_containers",
            f"{OUTLIVE}another_name_for_a_network_touches_only_who_is_on_it",
        ),
        "who is not on it",
    ),
    Operation(
        "another VLAN or MTU of a network; two that exchange VLANs",
        "with containers",
        (
            f"{CHANGES}links_and_networks_are_made_anew_under_running_containers",
            f"{OUTLIVE}containers_outlive_their_links_and_networks",
        ),
        "containers, with the same interfaces",
    ),
    Operation(
        "`ip link delete`, `up`",
        "under running containers",
        (
            f"{CHANGES}links_and_networks_are_made_anew_under_running_containers",
            f"{OUTLIVE}containers_outlive_their_links_and_networks",
        ),
        "containers, with the same interfaces",
    ),
    Operation(
        "`docker stop`, `docker rm -f`, `up`",
        "containers, all of a docker network",
        (
            f"{CHANGES}data_outlives_the_container",
            f"{PEOPLE}containers_addresses_and_data_outlive_what_people_do",
        ),
        "addresses, data",
    ),
    Operation(
        "a container added, removed, reordered, scaled",
        "with automatic addresses",
        (
            f"{CHANGES}a_state_that_is_lost_costs_no_address",
            f"{PEOPLE}containers_addresses_and_data_outlive_what_people_do",
        ),
    ),
)


def page() -> list[str]:
    """The lines of the document."""
    head = ("typed", "on", "tried in", "what stays as it is")
    rows = [head, tuple("-" for _ in head), *(row.cells for row in ROWS)]
    return [
        HEADING,
        "",
        "`make test` does all of this. Afterwards links have the index that they had, containers their id,",
        "start, addresses and volumes, nothing of somebody else's was touched, and the next preview has",
        "nothing to do. In memory are hosts whose kernel, tables and Docker are programs of the tests'; the",
        "engine and its docker provider are the real ones there, too. The kinds of resources are those of",
        "the exported state: one that is in no table makes the tests fail.",
        "",
        *("| " + " | ".join(cells) + " |" for cells in rows),
        "",
    ]
