#!/bin/sh
# Brings back, after a reboot, what the stacks of macvlan-fabric have on this host.
#
# Written by macvlan-fabric, the same on every host: what is to be brought back is data, in the folders
# beside this file. What is there already is left as it is, so it may be run at any time. A link that the host's
# own network manager makes at boot is waited for, and gets what the manager has not done. It goes on after a
# failure and exits 1 in the end if there was one.

root=/etc/macvlan-fabric
net=/sys/class/net
patience=60 # seconds; how long docker may be kept waiting for a trunk interface or a manager that is late
failed=0

complain() {
    echo "$*" >&2
    failed=1
}

# The rules are one transaction per table; only the jump into them is added where it is missing, because
# its chain is not ours.
restore_firewall() {
    iptables-restore --noflush --wait 60 <"$1" || {
        complain "$1: the firewall was not restored"
        return 1
    }
    while read -r hash word table built_in chain comment; do
        [ "$hash $word" = '# jump' ] || continue
        set -- "$built_in" -m comment --comment "$comment" -j "$chain"
        iptables --wait 60 -t "$table" -C "$@" 2>/dev/null || iptables --wait 60 -t "$table" -I "$@" ||
            {
                complain "$built_in: the jump to $chain was not restored"
                return 1
            }
    done <"$1"
}

read_link() {
    name='' kind='' parent='' vlan='' mtu='' alias='' manager='' settings='' addresses=''
    while read -r key value; do
        case $key in
        name) name=$value ;;
        kind) kind=$value ;;
        parent) parent=$value ;;
        vlan) vlan=$value ;;
        mtu) mtu=$value ;;
        alias) alias=$value ;;
        manager) manager=$value ;;
        setting) settings="$settings ${value% *}=${value#* }" ;;
        address) addresses="$addresses $value" ;;
        esac
    done <"$1"
}

# An interface that udev has not seen yet may still have another one's name.
settled() {
    [ -e "$net/$1" ] || return 1
    [ ! -e /run/udev/control ] || [ -e "/run/udev/data/n$(cat "$net/$1/ifindex")" ]
}

# Whether the manager that makes the link has done so. ifupdown is done before this program is started.
handed_over() {
    case $manager in
    '' | ifupdown) return 0 ;;
    esac
    [ -e "$net/$name" ] || return 1
    case $(cat "/run/systemd/netif/links/$(cat "$net/$name/ifindex")" 2>/dev/null) in
    *ADMIN_STATE=pending* | *ADMIN_STATE=initialized* | *ADMIN_STATE=configuring*) return 1 ;;
    esac
}

# Whether the manager made the link that is there, and not another one of that name.
made_by_manager() {
    [ -n "$manager" ] && [ "$(cat "$net/$name/iflink")" = "$(cat "$net/$parent/ifindex")" ] || return 1
    id=''
    [ ! -e "/proc/net/vlan/$name" ] || read -r device word id rest <"/proc/net/vlan/$name"
    [ "$id" = "$vlan" ] || return 1
    case $(cat "$net/$name/ifalias") in
    macvlan-fabric:*) return 1 ;; # of another stack
    esac
}

restore_link() {
    if [ ! -e "$net/$name" ]; then
        case $kind in
        vlan) ip link add link "$parent" name "$name" type vlan id "$vlan" ;;
        macvlan) ip link add link "$parent" name "$name" type macvlan mode bridge ;;
        *) false ;;
        esac && ip link set dev "$name" alias "$alias" || {
            complain "$name: not made"
            return
        }
    elif [ "$(cat "$net/$name/ifalias")" = "$alias" ]; then
        :
    elif made_by_manager; then
        ip link set dev "$name" alias "$alias" || complain "$name: not marked as ours"
    else
        complain "$name: there is an interface of that name which is not ours; left alone"
        return
    fi
    [ -z "$mtu" ] || [ "$(cat "$net/$name/mtu")" = "$mtu" ] || ip link set dev "$name" mtu "$mtu" ||
        complain "$name: MTU $mtu not set"
    for setting in $settings; do
        echo "${setting#*=}" >"/proc/sys/net/ipv4/conf/$name/${setting%%=*}" || complain "$name: $setting not set"
    done
    for address in $addresses; do
        # the protocol number marks it as ours; an older kernel or ip command does without
        ip address replace "$address" dev "$name" proto 0x99 2>/dev/null ||
            ip address replace "$address" dev "$name" ||
            complain "$name: address $address not set"
    done
    ip link set dev "$parent" up || complain "$parent: not up"
    ip link set dev "$name" up || complain "$name: not up"
}

seconds() {
    read -r uptime idle </proc/uptime
    echo "${uptime%%.*}"
}

# In any order, each as soon as its parent is there: parents of ours, and trunk interfaces that are late.
restore_links() {
    [ -e "$1" ] || return
    deadline=$(($(seconds) + patience))
    while [ $# -gt 0 ]; do
        late=$(($(seconds) >= deadline))
        before=$#
        for file; do
            shift
            read_link "$file"
            if { settled "$parent" && handed_over; } || { [ "$late" = 1 ] && [ -e "$net/$parent" ]; }; then
                restore_link
            elif [ "$late" = 1 ]; then
                complain "$name: its parent $parent did not appear within $patience s"
            else
                set -- "$@" "$file"
            fi
        done
        [ $# -eq 0 ] || [ $# -lt "$before" ] || sleep 0.2
    done
}

restore_sysctls() {
    while read -r path value; do
        case $path in
        '' | '#'*) continue ;;
        esac
        # writing ip_forward resets every interface's own value, even if it is the same for the host
        [ "$(cat "/proc/sys/$path")" = "$value" ] || echo "$value" >"/proc/sys/$path" ||
            complain "$path: not set to $value"
    done <"$1"
}

case $1 in
links) # before dockerd starts
    for file in "$root"/*/firewall; do
        [ ! -e "$file" ] || restore_firewall "$file"
    done
    restore_links "$root"/*/*.link
    ;;
forwarding) # after it has started; and never without the filter that goes with it
    for file in "$root"/*/sysctls; do
        firewall=${file%/*}/firewall
        if [ -e "$firewall" ] && ! restore_firewall "$firewall"; then
            complain "$file: nothing is forwarded without $firewall"
        elif [ -e "$file" ]; then
            restore_sysctls "$file"
        fi
    done
    ;;
*)
    complain "usage: $0 links|forwarding"
    ;;
esac
exit $failed
