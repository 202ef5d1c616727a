#!/usr/bin/env bash
# A real Slurm on this machine alone: munge, slurmctld and two nodes, all on 127.0.0.1, without systemd or cgroups.
# slurm.sh up | down
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
. ./common.sh
home=$LAB/slurm
port=${WATCHKEEPER_LAB_PORT:-26917}
export SLURM_CONF=$home/slurm.conf

config() {
  local host
  host=$(hostname -s)
  cat <<CONF
ClusterName=watchkeeperlab
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$home/run/munge/socket,cred_expire=4
CredType=cred/munge
SlurmctldPort=$port
SlurmdPort=$((port + 1))
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
StateSaveLocation=$home/state
SlurmdSpoolDir=$home/spool-%n
SlurmctldPidFile=$home/run/slurmctld.pid
SlurmdPidFile=$home/run/slurmd-%n.pid
SlurmctldLogFile=$home/log/slurmctld.log
SlurmdLogFile=$home/log/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,bf_interval=1,sched_min_interval=0,batch_sched_delay=0
MpiDefault=none
SlurmdParameters=config_overrides
ReturnToService=2
SlurmctldTimeout=10
SlurmdTimeout=${WATCHKEEPER_LAB_SLURMDTIMEOUT:-10}
InactiveLimit=0
KillWait=2
MinJobAge=${WATCHKEEPER_LAB_MINJOBAGE:-300}
Waittime=0
JobRequeue=1
AccountingStorageType=accounting_storage/none
NodeName=n1 NodeHostname=$host NodeAddr=127.0.0.1 Port=$((port + 11)) CPUs=64 RealMemory=1024 State=UNKNOWN
NodeName=n2 NodeHostname=$host NodeAddr=127.0.0.1 Port=$((port + 12)) CPUs=64 RealMemory=1024 State=UNKNOWN
PartitionName=main Nodes=n[1-2] Default=YES MaxTime=INFINITE State=UP
CONF
}

up() {
  mkdir -p "$home"/{state,log,run/munge,munge,spool-n1,spool-n2}
  packages slurmctld slurmd slurm-client munge || { echo "slurm: the packages can't be installed here"; return 1; }
  chmod 755 "$LAB" "$home" "$home/run/munge"
  chmod 700 "$home/munge"
  if timeout 3 sinfo -h >/dev/null 2>&1; then say SLURM_CONF "$SLURM_CONF"; echo "slurm is up"; return 0; fi
  down
  [ -s "$home/munge/key" ] || (umask 077; head -c 1024 /dev/urandom >"$home/munge/key")
  munged --force --key-file="$home/munge/key" --socket="$home/run/munge/socket" \
    --pid-file="$home/run/munge/munged.pid" --log-file="$home/munge/munged.log" --seed-file="$home/munge/seed"
  config >"$SLURM_CONF"
  slurmctld -f "$SLURM_CONF"
  slurmd -f "$SLURM_CONF" -N n1
  slurmd -f "$SLURM_CONF" -N n2
  local end=$((SECONDS + 30))
  while [ $SECONDS -lt $end ]; do
    # sinfo itself waits for 9 s when there is no controller.
    if [ "$(timeout 3 sinfo -h -N -o '%N %t' 2>/dev/null | grep -c -w idle)" = 2 ]; then
      say SLURM_CONF "$SLURM_CONF"
      echo "slurm is up"
      return 0
    fi
    sleep .1
  done
  echo "slurm did not come up:"
  tail -n 5 "$home"/log/*.log
  return 1
}

down() {
  local file
  for file in "$home"/run/slurmd-*.pid "$home"/run/slurmctld.pid "$home"/run/munge/munged.pid; do end_pid "$file"; done
  [ ! -d "$LAB" ] || say SLURM_CONF ""
}

case "${1:-}" in
  up) up ;;
  down) timeout 5 scancel -u "$(id -un)" 2>/dev/null || true; down; rm -rf "$home" ;;
  *) echo "usage: $0 up|down" >&2; exit 2 ;;
esac
