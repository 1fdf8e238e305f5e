# bash completion for penta. Written by `penta completion`; do not edit.
_penta()
{
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} words=
	if [ "$COMP_CWORD" -eq 1 ]; then
		words="run create exec start stop reset pause resume ls show set rm console logs rename clone autostart inspect image save restore snapshot fork doctor help --help --version"
		COMPREPLY=($(compgen -W "$words" -- "$cur")); return
	fi
	case ${COMP_WORDS[1]} in
	run)
		case $prev in
		--trace) COMPREPLY=($(compgen -W "list" -- "$cur")); return ;;
		--trace-file) compopt -o filenames; COMPREPLY=($(compgen -f -- "$cur")); return ;;
		--machine) COMPREPLY=($(compgen -W "lite" -- "$cur")); return ;;
		--engine) COMPREPLY=($(compgen -W "auto soft kvm" -- "$cur")); return ;;
		--memory) COMPREPLY=($(compgen -W "256M 512M 1G 2G 4G" -- "$cur")); return ;;
		--cpus) COMPREPLY=($(compgen -W "1 2 4" -- "$cur")); return ;;
		--cpu) COMPREPLY=($(compgen -W "base v2 v3 max" -- "$cur")); return ;;
		--kernel) compopt -o filenames; COMPREPLY=($(compgen -f -- "$cur")); return ;;
		--initrd) compopt -o filenames; COMPREPLY=($(compgen -f -- "$cur")); return ;;
		--firmware) compopt -o filenames; COMPREPLY=($(compgen -f -- "$cur")); return ;;
		--boot) COMPREPLY=($(compgen -W "auto direct bzimage64 bzimage32 elf pvh multiboot" -- "$cur")); return ;;
		--disk) compopt -o filenames; COMPREPLY=($(compgen -f -- "$cur")); return ;;
		--net) COMPREPLY=($(compgen -W "user tap: bridge: switch: none" -- "$cur")); return ;;
		--pcap) compopt -o filenames; COMPREPLY=($(compgen -f -- "$cur")); return ;;
		--serial) COMPREPLY=($(compgen -W "terminal console none pty file: unix:" -- "$cur")); return ;;
		--console) COMPREPLY=($(compgen -W "terminal console none pty file: unix:" -- "$cur")); return ;;
		--share) compopt -o filenames; COMPREPLY=($(compgen -f -- "$cur")); return ;;
		--vsock) COMPREPLY=($(compgen -W "auto off" -- "$cur")); return ;;
		--balloon) COMPREPLY=($(compgen -W "on off" -- "$cur")); return ;;
		--on-crash) COMPREPLY=($(compgen -W "exit reset pause" -- "$cur")); return ;;
		--sandbox) COMPREPLY=($(compgen -W "on off" -- "$cur")); return ;;
		--autostart) COMPREPLY=($(compgen -W "on off" -- "$cur")); return ;;
		esac
		words="--gdb --trace --trace-file --stats --machine --engine --memory --cpus --cpu --kernel --initrd --append --firmware --boot --disk --net --pcap --serial --console --share --vsock --balloon --on-crash --sandbox --user --autostart --stop-timeout --help"
		[[ $cur == -* ]] || words="$words $(penta completion --machines 2>/dev/null)"
		;;
	create)
		case $prev in
		--machine) COMPREPLY=($(compgen -W "lite" -- "$cur")); return ;;
		--engine) COMPREPLY=($(compgen -W "auto soft kvm" -- "$cur")); return ;;
		--memory) COMPREPLY=($(compgen -W "256M 512M 1G 2G 4G" -- "$cur")); return ;;
		--cpus) COMPREPLY=($(compgen -W "1 2 4" -- "$cur")); return ;;
		--cpu) COMPREPLY=($(compgen -W "base v2 v3 max" -- "$cur")); return ;;
		--kernel) compopt -o filenames; COMPREPLY=($(compgen -f -- "$cur")); return ;;
		--initrd) compopt -o filenames; COMPREPLY=($(compgen -f -- "$cur")); return ;;
		--firmware) compopt -o filenames; COMPREPLY=($(compgen -f -- "$cur")); return ;;
		--boot) COMPREPLY=($(compgen -W "auto direct bzimage64 bzimage32 elf pvh multiboot" -- "$cur")); return ;;
		--disk) compopt -o filenames; COMPREPLY=($(compgen -f -- "$cur")); return ;;
		--net) COMPREPLY=($(compgen -W "user tap: bridge: switch: none" -- "$cur")); return ;;
		--pcap) compopt -o filenames; COMPREPLY=($(compgen -f -- "$cur")); return ;;
		--serial) COMPREPLY=($(compgen -W "terminal console none pty file: unix:" -- "$cur")); return ;;
		--console) COMPREPLY=($(compgen -W "terminal console none pty file: unix:" -- "$cur")); return ;;
		--share) compopt -o filenames; COMPREPLY=($(compgen -f -- "$cur")); return ;;
		--vsock) COMPREPLY=($(compgen -W "auto off" -- "$cur")); return ;;
		--balloon) COMPREPLY=($(compgen -W "on off" -- "$cur")); return ;;
		--on-crash) COMPREPLY=($(compgen -W "exit reset pause" -- "$cur")); return ;;
		--sandbox) COMPREPLY=($(compgen -W "on off" -- "$cur")); return ;;
		--autostart) COMPREPLY=($(compgen -W "on off" -- "$cur")); return ;;
		esac
		words="--json --machine --engine --memory --cpus --cpu --kernel --initrd --append --firmware --boot --disk --net --pcap --serial --console --share --vsock --balloon --on-crash --sandbox --user --autostart --stop-timeout --help"
		;;
	exec)
		case $prev in
		esac
		words="--tty --no-tty --user --dir --env --timeout --help"
		[[ $cur == -* ]] || words="$words $(penta completion --machines 2>/dev/null)"
		;;
	start)
		case $prev in
		esac
		words="--json --help"
		[[ $cur == -* ]] || words="$words $(penta completion --machines 2>/dev/null)"
		;;
	stop)
		case $prev in
		esac
		words="--timeout --force --json --help"
		[[ $cur == -* ]] || words="$words $(penta completion --machines 2>/dev/null)"
		;;
	reset)
		case $prev in
		esac
		words="--json --help"
		[[ $cur == -* ]] || words="$words $(penta completion --machines 2>/dev/null)"
		;;
	pause)
		case $prev in
		esac
		words="--json --help"
		[[ $cur == -* ]] || words="$words $(penta completion --machines 2>/dev/null)"
		;;
	resume)
		case $prev in
		esac
		words="--json --help"
		[[ $cur == -* ]] || words="$words $(penta completion --machines 2>/dev/null)"
		;;
	ls)
		case $prev in
		esac
		words="--json --help"
		[[ $cur == -* ]] || words="$words $(penta completion --machines 2>/dev/null)"
		;;
	show)
		case $prev in
		esac
		words="--json --help"
		[[ $cur == -* ]] || words="$words $(penta completion --machines 2>/dev/null)"
		;;
	set)
		case $prev in
		--machine) COMPREPLY=($(compgen -W "lite" -- "$cur")); return ;;
		--engine) COMPREPLY=($(compgen -W "auto soft kvm" -- "$cur")); return ;;
		--memory) COMPREPLY=($(compgen -W "256M 512M 1G 2G 4G" -- "$cur")); return ;;
		--cpus) COMPREPLY=($(compgen -W "1 2 4" -- "$cur")); return ;;
		--cpu) COMPREPLY=($(compgen -W "base v2 v3 max" -- "$cur")); return ;;
		--kernel) compopt -o filenames; COMPREPLY=($(compgen -f -- "$cur")); return ;;
		--initrd) compopt -o filenames; COMPREPLY=($(compgen -f -- "$cur")); return ;;
		--firmware) compopt -o filenames; COMPREPLY=($(compgen -f -- "$cur")); return ;;
		--boot) COMPREPLY=($(compgen -W "auto direct bzimage64 bzimage32 elf pvh multiboot" -- "$cur")); return ;;
		--disk) compopt -o filenames; COMPREPLY=($(compgen -f -- "$cur")); return ;;
		--net) COMPREPLY=($(compgen -W "user tap: bridge: switch: none" -- "$cur")); return ;;
		--pcap) compopt -o filenames; COMPREPLY=($(compgen -f -- "$cur")); return ;;
		--serial) COMPREPLY=($(compgen -W "terminal console none pty file: unix:" -- "$cur")); return ;;
		--console) COMPREPLY=($(compgen -W "terminal console none pty file: unix:" -- "$cur")); return ;;
		--share) compopt -o filenames; COMPREPLY=($(compgen -f -- "$cur")); return ;;
		--vsock) COMPREPLY=($(compgen -W "auto off" -- "$cur")); return ;;
		--balloon) COMPREPLY=($(compgen -W "on off" -- "$cur")); return ;;
		--on-crash) COMPREPLY=($(compgen -W "exit reset pause" -- "$cur")); return ;;
		--sandbox) COMPREPLY=($(compgen -W "on off" -- "$cur")); return ;;
		--autostart) COMPREPLY=($(compgen -W "on off" -- "$cur")); return ;;
		esac
		words="--unset --memory-target --json --machine --engine --memory --cpus --cpu --kernel --initrd --append --firmware --boot --disk --net --pcap --serial --console --share --vsock --balloon --on-crash --sandbox --user --autostart --stop-timeout --help"
		[[ $cur == -* ]] || words="$words $(penta completion --machines 2>/dev/null)"
		;;
	rm)
		case $prev in
		esac
		words="--force --json --help"
		[[ $cur == -* ]] || words="$words $(penta completion --machines 2>/dev/null)"
		;;
	console)
		case $prev in
		esac
		words="--help"
		[[ $cur == -* ]] || words="$words $(penta completion --machines 2>/dev/null)"
		;;
	logs)
		case $prev in
		--lines) COMPREPLY=($(compgen -W "10 100" -- "$cur")); return ;;
		esac
		words="--follow --penta --lines --json --help"
		[[ $cur == -* ]] || words="$words $(penta completion --machines 2>/dev/null)"
		;;
	rename)
		case $prev in
		esac
		words="--json --help"
		[[ $cur == -* ]] || words="$words $(penta completion --machines 2>/dev/null)"
		;;
	clone)
		case $prev in
		esac
		words="--linked --json --help"
		[[ $cur == -* ]] || words="$words $(penta completion --machines 2>/dev/null)"
		;;
	autostart)
		case $prev in
		esac
		words="--json --help"
		[[ $cur == -* ]] || words="$words on"
		[[ $cur == -* ]] || words="$words off"
		[[ $cur == -* ]] || words="$words ls"
		[[ $cur == -* ]] || words="$words run"
		[[ $cur == -* ]] || words="$words stop"
		[[ $cur == -* ]] || words="$words unit"
		[[ $cur == -* ]] || words="$words $(penta completion --machines 2>/dev/null)"
		;;
	inspect)
		case $prev in
		esac
		words="--json --help"
		[[ $cur == -* ]] || words="$words $(penta completion --machines 2>/dev/null)"
		;;
	image)
		if [ "$COMP_CWORD" -eq 2 ]; then
			words="create info check convert resize build --help"
		else case ${COMP_WORDS[2]} in
	create)
		case $prev in
		--format) COMPREPLY=($(compgen -W "raw qcow2" -- "$cur")); return ;;
		--backing) compopt -o filenames; COMPREPLY=($(compgen -f -- "$cur")); return ;;
		--backing-format) COMPREPLY=($(compgen -W "raw qcow2" -- "$cur")); return ;;
		--cluster) COMPREPLY=($(compgen -W "4K 64K 1M 2M" -- "$cur")); return ;;
		esac
		words="--format --backing --backing-format --cluster --force --json --help"
		;;
	info)
		case $prev in
		esac
		words="--json --help"
		;;
	check)
		case $prev in
		esac
		words="--repair --json --help"
		;;
	convert)
		case $prev in
		--from) COMPREPLY=($(compgen -W "raw qcow2" -- "$cur")); return ;;
		--format) COMPREPLY=($(compgen -W "raw qcow2" -- "$cur")); return ;;
		--cluster) COMPREPLY=($(compgen -W "4K 64K 1M 2M" -- "$cur")); return ;;
		esac
		words="--from --format --cluster --size --force --json --help"
		;;
	resize)
		case $prev in
		--format) COMPREPLY=($(compgen -W "raw qcow2" -- "$cur")); return ;;
		esac
		words="--format --shrink --json --help"
		;;
	build)
		case $prev in
		--release) COMPREPLY=($(compgen -W "bookworm trixie" -- "$cur")); return ;;
		--size) COMPREPLY=($(compgen -W "4G 8G 16G" -- "$cur")); return ;;
		--include) COMPREPLY=($(compgen -W "gcc,make openssh-server python3" -- "$cur")); return ;;
		--mode) COMPREPLY=($(compgen -W "auto root unshare fakechroot" -- "$cur")); return ;;
		esac
		words="--release --size --include --mirror --hostname --mode --force --verbose --json --help"
		[[ $cur == -* ]] || words="$words debian"
		;;
		esac; fi ;;
	save)
		case $prev in
		esac
		words="--running --json --help"
		[[ $cur == -* ]] || words="$words $(penta completion --machines 2>/dev/null)"
		;;
	restore)
		case $prev in
		--name) COMPREPLY=($(compgen -W "@machine" -- "$cur")); return ;;
		esac
		words="--name --force --info --json --help"
		;;
	snapshot)
		case $prev in
		esac
		words="--json --help"
		[[ $cur == -* ]] || words="$words $(penta completion --machines 2>/dev/null)"
		;;
	fork)
		case $prev in
		esac
		words="--json --help"
		[[ $cur == -* ]] || words="$words $(penta completion --machines 2>/dev/null)"
		;;
	doctor)
		case $prev in
		esac
		words="--json --fresh --sandbox --help"
		;;
	esac
	COMPREPLY=($(compgen -W "$words" -- "$cur"))
}
complete -F _penta penta
