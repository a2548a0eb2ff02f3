#!/usr/bin/env bash
# A Slurm cluster of several nodes on one Debian machine, for tests: no systemd, no cgroups, no accounting daemon; all
# files below one folder, all ports on loopback. Each node is a process namespace with a host name of its own, so that
# what runs there sees another machine, and killing the namespace is what a power cut is. As root.
#
#   slurm-one-machine.sh install            Debian's slurmctld, slurmd, slurm-client and munge (22.05.8; 8 s here)
#   slurm-one-machine.sh start [NODES]      munged, slurmctld and NODES (3) nodes n1, n2, … of one CPU; returns when all are idle.
#                                           Partitions: main, the first three; urgent, the same, before which jobs of main give way;
#                                           all
#   eval "$(slurm-one-machine.sh env)"      lets sbatch, squeue … find it
#   slurm-one-machine.sh node-kill N        cuts the power of node N: its slurmd and all that it runs
#   slurm-one-machine.sh node-start N
#   slurm-one-machine.sh controller-kill    SIGKILL to slurmctld
#   slurm-one-machine.sh controller-start
#   slurm-one-machine.sh stop               ends what was started, by pid
#
# SLURM_DIR: its folder, absolute (default /tmp/slurm-one-machine). SLURM_PORT: the controller's port (default 17000), which those of
# the nodes follow: clusters side by side need ports of their own. NODE_TIMEOUT: seconds of silence after which a node is down
# (default 10; Slurm's own: 300). REQUEUE_DELAY: seconds that a requeued job waits (default 5; less than 5 counts as Slurm's own: 120).
# What node N sees otherwise than the machine: HIDE_N, a folder that is empty there; CPUINFO_N, a file in the place of /proc/cpuinfo.
set -euo pipefail
dir=${SLURM_DIR:-/tmp/slurm-one-machine}
port=${SLURM_PORT:-17000}
export SLURM_CONF=$dir/slurm.conf

install() {
  apt-get update -qq
  # Debian's policy-rc.d keeps the packages from starting services where there is no systemd.
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends slurmctld slurmd slurm-client munge
}

configure() {
  local nodes=$1
  mkdir -p "$dir"/{state,spool,log,run,munge}
  chmod 755 "$dir" "$dir"/*/
  chmod 700 "$dir/munge"
  [ -s "$dir/munge/key" ] || (umask 077; head -c 128 /dev/urandom >"$dir/munge/key")
  cat >"$dir/slurm.conf" <<CONF
ClusterName=onemachine
SlurmctldHost=$(hostname -s)(127.0.0.1)
SlurmctldPort=$port
# Listen on the addresses named here, and so on loopback only.
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
# cred_expire is also how long a requeued job waits before it starts again.
AuthInfo=socket=$dir/run/munge.socket,cred_expire=${REQUEUE_DELAY:-5}
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool/%n
SlurmctldPidFile=$dir/run/slurmctld.pid
SlurmdPidFile=$dir/run/%n.slurmd.pid
SlurmctldLogFile=$dir/log/slurmctld.log
SlurmdLogFile=$dir/log/%n.log
MailProg=/bin/true
# No cgroups: the processes of a job are found by their parents.
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
# Memory is measured, and a job that takes more than it asked for is ended.
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/filetxt
JobCompLoc=$dir/log/jobs.txt
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
DefMemPerCPU=1500
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=5,sched_interval=5,sched_min_interval=0,batch_sched_delay=0
# A node may claim what the machine has not.
SlurmdParameters=config_overrides
SlurmdTimeout=${NODE_TIMEOUT:-10}
SlurmctldTimeout=10
ReturnToService=2
KillWait=30
MinJobAge=300
MaxJobCount=20000
MaxArraySize=10001
FirstJobId=1
JobRequeue=1
CONF
  for n in $(seq "$nodes"); do
    echo "NodeName=n$n NodeAddr=127.0.0.1 Port=$((port + n)) CPUs=1 RealMemory=2000 State=UNKNOWN"
  done >>"$dir/slurm.conf"
  local main=n[1-$((nodes < 3 ? nodes : 3))]
  cat >>"$dir/slurm.conf" <<CONF
PartitionName=main Nodes=$main Default=YES MaxTime=INFINITE State=UP PriorityTier=1
PartitionName=urgent Nodes=$main MaxTime=INFINITE State=UP PriorityTier=2
PartitionName=all Nodes=n[1-$nodes] MaxTime=INFINITE State=UP PriorityTier=1
CONF
  echo 'CgroupPlugin=cgroup/v1' >"$dir/cgroup.conf"
  # What a node finds as /etc/hosts: slurmd listens on the address of its host's name.
  { cat /etc/hosts; for n in $(seq "$nodes"); do echo "127.0.0.1 n$n"; done; } >"$dir/hosts"
  echo "$nodes" >"$dir/nodes"
}

alive() { [ -s "$1" ] && kill -0 "$(cat "$1")" 2>/dev/null; }

# One that dies before it has written its state down would give numbers a second time, under which forgotten jobs still run: their memory
# would be counted together. On a cluster that has had thousands of jobs they are far apart.
start_controller() {
  local first
  first=$(sed -n 's/^FirstJobId=//p' "$SLURM_CONF")
  sed -i "s/^FirstJobId=.*/FirstJobId=$((first + 10000))/" "$SLURM_CONF"
  slurmctld -f "$SLURM_CONF"
}

start_node() {
  # unshare's child, the first process of the namespace, dies with it, and the kernel then ends all others in there.
  local hide=HIDE_$1 cpuinfo=CPUINFO_$1 other=
  [ -z "${!hide:-}" ] || other+="mount -t tmpfs none '${!hide}' && "
  [ -z "${!cpuinfo:-}" ] || other+="mount --bind '${!cpuinfo}' /proc/cpuinfo && "
  unshare --uts --pid --mount --mount-proc --fork --kill-child=KILL \
    sh -c "hostname n$1 && mount --bind $dir/hosts /etc/hosts && ${other}exec slurmd -D -N n$1 -f $SLURM_CONF" </dev/null >>"$dir/log/n$1.out" 2>&1 &
  echo $! >"$dir/run/n$1.pid"
  disown
}

start() {
  configure "${1:-3}"
  alive "$dir/run/munged.pid" || munged --force --num-threads=1 --key-file="$dir/munge/key" --seed-file="$dir/munge/seed" \
    --socket="$dir/run/munge.socket" --pid-file="$dir/run/munged.pid" --log-file="$dir/log/munged.log"
  alive "$dir/run/slurmctld.pid" || start_controller
  local n
  for n in $(seq "$(cat "$dir/nodes")"); do alive "$dir/run/n$n.pid" || start_node "$n"; done
  for _ in $(seq 150); do
    [ "$(sinfo -h -N -t idle -o %N 2>/dev/null | sort -u | wc -l)" = "$(cat "$dir/nodes")" ] && return
    sleep 0.2
  done
  echo 'the nodes did not become idle:' >&2
  sinfo -N -l >&2 || true
  return 1
}

# Politely, and after ten seconds not.
end() {
  alive "$1" || return 0
  local pid
  pid=$(cat "$1")
  kill "$pid"
  for _ in $(seq 100); do kill -0 "$pid" 2>/dev/null || return 0; sleep 0.1; done
  kill -KILL "$pid"
}

stop() {
  alive "$dir/run/slurmctld.pid" && scancel --user=root || true
  local n
  # A namespace's first process hears no polite signal.
  for n in $(seq "$(cat "$dir/nodes" 2>/dev/null || echo 0)"); do
    alive "$dir/run/n$n.pid" && kill -KILL "$(cat "$dir/run/n$n.pid")" || true
  done
  end "$dir/run/slurmctld.pid"
  end "$dir/run/munged.pid"
}

case ${1:-} in
  install) install ;;
  start) start "${2:-3}" ;;
  env) echo "export SLURM_CONF=$SLURM_CONF" ;;
  node-kill) kill -KILL "$(cat "$dir/run/n$2.pid")" ;;
  node-start) start_node "$2" ;;
  controller-kill) kill -KILL "$(cat "$dir/run/slurmctld.pid")" ;;
  controller-start) start_controller ;;
  stop) stop ;;
  *) sed -n '2,22s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac
