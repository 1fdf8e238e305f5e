# Deterministic work for a busybox shell: the same script runs on the host and in the guest, and
# the lines that it prints must be equal. W: an empty scratch folder; DATA: a file of 300 KB or more.
line='The quick brown fox jumps over the lazy dog 0123456789 +-*/'
for i in 1 2 3 4 5; do line=$line$line; done
echo "sha256 $(yes "$line" | head -c 67108864 | sha256sum)"
echo "gzip $(yes "$line" | head -c 3000000 | cat - "$DATA" | gzip -6 | gunzip | md5sum)"
echo "bzip2 $(head -c 300000 "$DATA" | bzip2 | bunzip2 | sha1sum)"
echo "awk $(awk 'BEGIN { s = 0; for (i = 1; i <= 60000; i++) { s += i / (1 + i % 7) - i / 3; a[i % 97] += i } printf "%.9f", s; for (i = 0; i < 97; i++) t = (t * 31 + a[i]) % 1000003; print " " t }')"
echo "sort $(awk 'BEGIN { x = 12345; for (i = 0; i < 20000; i++) { x = (x * 1103 + 12345) % 1000003; print x } }' | sort -n | uniq | md5sum)"
n=0; for i in $(seq 1 300); do /bin/busybox true && n=$((n + 1)); done; echo "fork $n"
for i in 1 2 3 4 5 6 7 8; do ( j=0; while [ $j -lt 40 ]; do /bin/busybox true; j=$((j + 1)); done; echo done >> "$W/storm" ) & done; wait
echo "storm $(wc -l < "$W/storm")"
i=0; while [ $i -lt 400 ]; do echo "file $i" > "$W/f$i"; i=$((i + 1)); done
cat "$W"/f* | md5sum | sed 's/^/tmpfs /'
head -c 8000000 /dev/zero > "$W/big"; cp "$W/big" "$W/big2"; cmp "$W/big" "$W/big2" && echo "copy same"
rm -f "$W"/*; ls "$W" | wc -l | sed 's/^/left /'
echo "expr $(i=0; s=0; while [ $i -lt 20000 ]; do s=$(( (s * 7 + i ^ (s >> 3)) & 0xffffff )); i=$((i + 1)); done; echo $s)"
