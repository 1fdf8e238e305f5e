# SPDX-License-Identifier: GPL-2.0-or-later
# debian.sh - a root file system from Debian packages, in a disk image. Run by `penta image build`,
# which carries this text in itself (image/embed.c), makes the disk with its partitions, and takes
# what fd 3 says: "step PERCENT TEXT". Everything made here lies in $WORK, which the caller removes.
#
# From the environment:
#	RELEASE bookworm|trixie	HOSTNAME_ the guest's name	MIRROR URL, "deb ..." line, or empty
#	INCLUDE pkg,pkg		WORK a private folder		DISK image, partitions made
#	OFFSET LEN the root file system's place in it, bytes	UUID its id
#	MODE root|unshare|fakechroot|auto	AGENT the guest agent's program
set -eu
umask 022
export LC_ALL=C DEBIAN_FRONTEND=noninteractive
# mke2fs is not in every user's path.
PATH=$PATH:/usr/sbin:/sbin
# fakechroot goes wrong in a folder that the user may not read.
cd "$WORK"
step() { echo "step $*" >&3; }
die() { echo "error $*" >&3; exit 1; }
need() { command -v "$1" >/dev/null || die "$1 is not there; install the Debian package $2"; }
need mmdebstrap mmdebstrap
need mke2fs e2fsprogs
need tar tar

# --- which mode: who owns a file in the image need not be who owns it here ---
if [ "$MODE" = auto ]; then
	if [ "$(id -u)" = 0 ]; then
		MODE=root
	elif command -v newuidmap >/dev/null && grep -qE "^($(id -un)|$(id -u)):" /etc/subuid 2>/dev/null &&
		unshare --user true 2>/dev/null; then
		MODE=unshare
	else
		MODE=fakechroot
	fi
fi
fake= xattrs="--xattrs --xattrs-include=*"
case $MODE in
root) [ "$(id -u)" = 0 ] || die "--mode root: you are not root; leave --mode away" ;;
unshare) need newuidmap uidmap; need fakeroot fakeroot; fake=fakeroot ;;
fakechroot) need fakechroot fakechroot; need fakeroot fakeroot; fake=fakeroot
	# The guest's programs run here under this host's dynamic linker, which knows its own libc only.
	host=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)
	[ "$host" = "$RELEASE" ] || die "$RELEASE on $host cannot be built without rights: \
be root, or get ids of your own (root: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 $(id -un))" ;;
esac

# --- which mirror: the host's own, by its apt ---
host_sources() {
	apt-get indextargets --format '$(REPO_URI) $(LABEL) $(ORIGIN)' 'Created-By: Packages' 2>/dev/null |
	awk -v rel="$RELEASE" '
	$NF != "Debian" || seen[$0]++ { next }
	$2 == "Debian" && !main { main = $1
		print "deb " main " " rel " main"; print "deb " main " " rel "-updates main" }
	$2 == "Debian-Security" && !sec { sec = $1; print "deb " sec " " rel "-security main" }'
}
case $MIRROR in
'') sources=$(host_sources)
    [ -n "$sources" ] || die "no Debian mirror in this host's apt sources; give one: --mirror URL" ;;
'deb '*) sources=$MIRROR ;;
*) sources="deb $MIRROR $RELEASE main" ;;
esac
site=$(echo "$sources" | sed -n '1s/^deb \(\[[^]]*\] \)*\([^ ]*\).*/\2/p')
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
[ -e "$keyring" ] || die "$keyring is not there; install the package debian-archive-keyring"

# --- what is in it ---
pkgs=linux-image-amd64,initramfs-tools,zstd,systemd-sysv,libpam-systemd,dbus,udev,systemd-resolved
pkgs=$pkgs,kmod,iproute2,iputils-ping,netbase,procps,less,nano,ca-certificates,fdisk,e2fsprogs
[ "$RELEASE" = bookworm ] || pkgs=$pkgs,systemd-repart
[ -z "$INCLUDE" ] || pkgs=$pkgs,$INCLUDE

# Before the kernel comes: its initramfs shall hold what finds the root, and no more. An emulated
# CPU pays for each megabyte that it unpacks, so the compressor is the fast one, too.
before='
set -eu; r=$1
mkdir -p "$r/etc/initramfs-tools/conf.d" "$r/etc/kernel"
cat > "$r/etc/initramfs-tools/conf.d/penta" <<-E
	# Modules of the list below only; see initramfs-tools(7).
	MODULES=list
	COMPRESS=zstd
	RESUME=none
E
printf "%s\n" virtio_pci virtio_blk virtio_scsi ext4 sd_mod ahci ata_piix nvme >> "$r/etc/initramfs-tools/modules"
'

# After all packages. Quoted twice: the heredocs go to the guest as they are.
after='
set -eu; r=$1
put() { mkdir -p "$r/${1%/*}"; cat > "$r/$1"; }
put etc/fstab <<-E
	UUID=$UUID / ext4 defaults,discard,errors=remount-ro,x-systemd.growfs 0 1
E
put etc/hostname <<-E
	$HOSTNAME_
E
put etc/hosts <<-E
	127.0.0.1 localhost
	127.0.1.1 $HOSTNAME_
	::1 localhost ip6-localhost ip6-loopback
	ff02::1 ip6-allnodes
	ff02::2 ip6-allrouters
E
# Read by whoever boots this disk without firmware, and by kernel-install.
put etc/kernel/cmdline <<-E
	ro console=ttyS0
E
# Empty, not missing: the first boot fills it in, and a copy of the image is another machine.
rm -f "$r/etc/machine-id" && : > "$r/etc/machine-id" && chmod 444 "$r/etc/machine-id"
rm -f "$r/var/lib/dbus/machine-id" "$r/etc/ssh/"ssh_host_*

# The root partition takes all of a disk that was made larger; the file system follows (growfs).
put etc/repart.d/50-root.conf <<-E
	[Partition]
	Type=root
E
# Network: whatever card, by DHCP; names by systemd-resolved.
put etc/systemd/network/80-dhcp.network <<-E
	[Match]
	Type=ether
	[Network]
	DHCP=yes
	[DHCPv4]
	UseDomains=yes
	[DHCPv6]
	UseDelegatedPrefix=no
E
ln -sf ../run/systemd/resolve/stub-resolv.conf "$r/etc/resolv.conf"
en() { mkdir -p "$r/etc/systemd/system/$2"; ln -sf "/lib/systemd/system/$1" "$r/etc/systemd/system/$2/$1"; }
en systemd-networkd.service multi-user.target.wants
en systemd-networkd.socket sockets.target.wants
en systemd-resolved.service multi-user.target.wants
# Nothing waits for the network to be configured.
ln -sf /dev/null "$r/etc/systemd/system/systemd-networkd-wait-online.service"
# Work of a real machine at set hours that an idle guest is better without is left as Debian has it,
# except for what runs minutes after each boot.
rm -f "$r/etc/systemd/system/timers.target.wants/apt-daily.timer" \
	"$r/etc/systemd/system/timers.target.wants/apt-daily-upgrade.timer"

# Each machine makes its own keys when it first starts.
if [ -e "$r/lib/systemd/system/ssh.service" ]; then
put etc/systemd/system/ssh.service.d/penta.conf <<-E
	[Service]
	ExecStartPre=
	ExecStartPre=/usr/bin/ssh-keygen -A
	ExecStartPre=/usr/sbin/sshd -t
E
fi

# Consoles: whoever sees them owns the machine. Root has no password, and no login but there.
put etc/systemd/system/serial-getty@.service.d/penta.conf <<-"E"
	# To be asked for a password instead: set one (passwd), and remove this file.
	[Service]
	ExecStart=
	ExecStart=-/sbin/agetty --autologin root --noclear --keep-baud 115200,57600,38400,9600 - $TERM
	Environment=TERM=xterm-256color
E
put etc/udev/rules.d/90-penta.rules <<-E
	# A virtio console gets a login when it is there, and is not waited for when not.
	SUBSYSTEM=="tty", KERNEL=="hvc0", TAG+="systemd", ENV{SYSTEMD_WANTS}+="serial-getty@hvc0.service"
E
# A serial line has no size of its own: the agent keeps the host terminal'"'"'s here.
put etc/profile.d/penta.sh <<-"E"
	case $(tty 2>/dev/null) in
	/dev/ttyS0|/dev/hvc0) [ ! -s /run/penta/size ] || stty $(cat /run/penta/size) 2>/dev/null ;;
	esac
E
put etc/systemd/system/penta-agent.service <<-E
	[Unit]
	Description=penta guest agent
	Documentation=man:penta(1)
	# When it answers, the machine is there: commands find a network, names, and who shuts down.
	After=systemd-networkd.service systemd-resolved.service systemd-logind.service
	ConditionVirtualization=vm
	[Service]
	ExecStart=/usr/sbin/penta-agent
	Restart=always
	RestartSec=1
	# What it runs for the host may go on when it is updated.
	KillMode=process
	OOMScoreAdjust=-500
	[Install]
	WantedBy=multi-user.target
E
mkdir -p "$r/etc/systemd/system/multi-user.target.wants"
ln -sf ../penta-agent.service "$r/etc/systemd/system/multi-user.target.wants/penta-agent.service"
put etc/modules-load.d/penta.conf <<-E
	# The host talks to the agent through this.
	vmw_vsock_virtio_transport
E
rm -rf "$r"/var/cache/apt/*.bin "$r"/var/log/*.log "$r"/var/log/apt "$r"/var/lib/apt/lists/*_*
[ -e "$r/vmlinuz" ] || { echo "no kernel was installed" >&2; exit 1; }
[ -e "$r/initrd.img" ] || { echo "no initramfs was made" >&2; exit 1; }
'
# fakeroot keeps no file capabilities; ping does without (net.ipv4.ping_group_range).
[ -z "$fake" ] || xattrs=
export UUID HOSTNAME_ xattrs WORK OFFSET LEN DISK

# Temporary files go with $WORK; in user namespaces the tools may not be able to come here.
[ "$MODE" = unshare ] || export TMPDIR=$WORK
# Our end is everybody's end, also when the program that runs us was killed (it sends SIGTERM by dying).
trap 'trap - TERM; kill -TERM 0' TERM
step 1 "reading the package lists of $site"
# mmdebstrap's own steps, weighed by how long each takes.
progress() {
	while IFS= read -r line; do
		echo "$line" >&2
		case $line in
		*'downloading packages'*) step 5 "downloading packages from $site" ;;
		*'extracting archives'*) step 15 "unpacking the base system" ;;
		*'installing essential'*) step 20 "installing the base system" ;;
		*'installing remaining'*) step 30 "installing the kernel, systemd and the rest" ;;
		*'cleaning package lists'*) step 70 "cleaning up" ;;
		*'creating tarball'*) step 72 "packing the tree" ;;
		esac
	done
}
{
	mmdebstrap --mode="$MODE" --variant=minbase --format=tar --include="$pkgs" \
		--aptopt='Acquire::Retries "3"' --aptopt='APT::Install-Recommends "false"' \
		--aptopt='APT::Install-Suggests "false"' --keyring="$keyring" \
		--dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/*/copyright' \
		--essential-hook="$before" \
		--customize-hook="upload '$AGENT' /usr/sbin/penta-agent" \
		--customize-hook='chmod 755 "$1/usr/sbin/penta-agent"' \
		--customize-hook="$after" \
		"$RELEASE" "$WORK/root.tar" "$sources" 2>&1 4>&- || echo "$?" > "$WORK/failed"
} | progress &
wait $!
[ ! -e "$WORK/failed" ] || die "mmdebstrap failed (mirror $site)"

step 80 "making the file system"
cat > "$WORK/mkfs" <<'E'
set -eu
mkdir "$WORK/root"
set -f
tar -C "$WORK/root" $xattrs --numeric-owner -xpf "$WORK/root.tar"
rm -f "$WORK/root.tar"
echo "step 88 writing the file system" >&3
mke2fs -q -F -t ext4 -L root -U "$UUID" -E "offset=$OFFSET,root_owner=0:0,lazy_itable_init=1" \
	-d "$WORK/root" "$DISK" "$((LEN / 1024))k"
E
$fake sh "$WORK/mkfs" || die "the file system could not be made; is --size large enough?"
step 99 "writing it out"
