# What is typed is noted in a file that only you can read, by the shell itself: no process is started for it.

set -g _qrec_folder @FOLDER@
set -g _qrec_about @ABOUT@
set -g _qrec_typed @TYPED@
set -g _qrec_ignore @IGNORE@
set -g _qrec_record @RECORD@
set -g _qrec_secrets @SECRETS@

# Whether a line may be noted.  A pattern that cannot be understood fits all: better lose a line than tell a secret.
function _qrec_may_note
    string match -qr '^\s|^(\w+=\S*\s+)*(command\s+)?(\S*/)?qrec(\s|$)' -- $argv[1]
    and return 1
    test (string length -- $argv[1]) -gt 32768
    and return 1
    test -n "$_qrec_ignore"
    or return 0
    string match -qr -- "(?s)$_qrec_ignore" $argv[1] 2>/dev/null
    test $status -eq 1
end

# Whether a line smells of a secret, which must not lie in a file for long.
function _qrec_smells
    string match -qir -- '(?s)@HINTS@' $argv[1]
    or begin
        test -n "$_qrec_secrets"
        and string match -qr -- "(?s)$_qrec_secrets" $argv[1] 2>/dev/null
    end
end

# Make the file, which only you may read, with what stands above its lines.
function _qrec_make
    test -z "$_qrec_told"
    or return 1
    set -l before (umask)
    umask 077
    test -d $_qrec_folder
    or command mkdir -p -- $_qrec_folder 2>/dev/null
    test -O $_qrec_folder; and test -w $_qrec_folder
    and printf '%s\n' $_qrec_head 2>/dev/null >>$_qrec_file
    set -l code $status
    umask $before
    return $code
end

# Append a line, or say once that it cannot be done.  It stands between line ends of its own, so that what a full disk
# cuts off spoils no other.
function _qrec_note
    if test -w $_qrec_file; or _qrec_make
        printf '\n%s\t.\n' (string join \t -- $argv) 2>/dev/null >>$_qrec_file
        and return
    end
    test -n "$_qrec_told"
    or echo "qrec: what you type is not recorded: cannot write in $_qrec_folder" >&2
    set -g _qrec_told 1
end

function _qrec_escape
    set -g _qrec_escaped $argv[1]
    string match -qr '[\\\\\n\t]' -- $argv[1]
    and set -g _qrec_escaped (string split \n -- $argv[1] | string replace -a '\\' '\\\\' | string replace -a \t '\\t' | string join '\\n')
end

function _qrec_note_start
    _qrec_escape $_qrec_pwd
    set -l folder $_qrec_escaped
    _qrec_escape $_qrec_text
    _qrec_note S $_qrec_count $_qrec_start "$folder" $_qrec_escaped
    set -g _qrec_noted 1
end

# The time in microseconds, by the clock of the kernel, which counts hundredths of a second.
function _qrec_clock
    set -l up
    if read up 2>/dev/null </proc/uptime
        set up (string split ' ' -- $up)[1]
        math --scale=0 "($_qrec_zero + $up) * 1000000"
    else
        math --scale=0 (command date +%s) "* 1000000"
    end
end

# The program with which a line begins, if that is one command or pipeline.
function _qrec_program_of
    set -l words (string match -r '^(?:[A-Za-z_]\w*=[\w./:,@%+-]*\s+)*([\w.+-]+)(?:\s|$)' -- $argv[1])
    or return
    set -l bare (string replace -ar '\'(\\\\.|[^\'\\\\])*\'|"(\\\\.|[^"\\\\$]|\\$\w)*"|\\\\.' x -- $argv[1] | string collect)
    set bare (string replace -ar '>&[0-9]|&>' '' -- $bare | string collect)
    if not string match -qr '[;&()"\'\\\\\n]|\|\||\|\s*$' -- $bare
        and not functions -q -- $words[2]
        and not contains -- $words[2] (builtin -n)
        and command -q -- $words[2]
        and command -q qrec
        echo $words[2]
    end
end

# Before a command begins.  To be recorded whole, its program stands for `qrec run` of it while the line runs; the
# history has it as it was typed.
function _qrec_preexec --on-event fish_preexec
    set -g _qrec_text $argv[1]
    set -g _qrec_wanted
    set -g _qrec_noted
    _qrec_forget
    test -n "$_qrec_text"
    and _qrec_may_note $_qrec_text
    or return
    if test -n "$_qrec_record"; and string match -qr -- "(?s)$_qrec_record" $_qrec_text 2>/dev/null
        set -l program (_qrec_program_of $_qrec_text)
        if test -n "$program"
            set -g _qrec_program $program
            function $program --inherit-variable program
                command qrec@OPTIONS_PLAIN@ run -q -- $program $argv
            end
            return
        end
    end
    test -n "$_qrec_typed"
    or return
    set -g _qrec_wanted 1
    set -g _qrec_count (math $_qrec_count + 1)
    set -g _qrec_pwd $PWD
    set -g _qrec_start (_qrec_clock)
    set -g _qrec_jobs (jobs -g)
    # A secret had better not be there as long as the command runs.
    set -g _qrec_smelly
    if _qrec_smells $_qrec_text
        set -g _qrec_smelly 1
    else
        _qrec_note_start
    end
end

function _qrec_forget
    test -n "$_qrec_program"
    and functions -e -- $_qrec_program
    set -g _qrec_program
end

# Whether the command was stopped, as by Ctrl-Z: a job that was not there before, or that `fg` did not bring to its end.
function _qrec_is_stopped
    set -l now (jobs -g)
    set -l last (jobs -lg)
    set -l stat ''
    test -n "$last"; and test -r /proc/$last/stat
    and read stat 2>/dev/null </proc/$last/stat
    and string match -qr '.*\\) [Tt] ' -- $stat
    or return
    not contains -- $last $_qrec_jobs
    or begin
        string match -qr '^fg(\s|$)' -- $_qrec_text
        and test (count $now) -eq (count $_qrec_jobs)
    end
end

# When a command is over.  qrec takes out secrets as it takes the lines in: with one there, that is now.
function _qrec_postexec --on-event fish_postexec
    set -l code $status
    set -l took $CMD_DURATION
    _qrec_forget
    test -n "$_qrec_wanted"
    or return
    set -g _qrec_wanted
    test -n "$_qrec_noted"
    or _qrec_note_start
    # Its $status is that of the command before, then; this is what other shells say.
    jobs -q
    and _qrec_is_stopped
    and set code 148
    _qrec_note E $_qrec_count (math --scale=0 $_qrec_start + 0$took x 1000) $code
    if test -n "$_qrec_smelly"
        command qrec@OPTIONS_PLAIN@ ls -n 1 </dev/null >/dev/null 2>&1 &
        disown 2>/dev/null
    end
end

# Say where this shell's lines go, and what stands above them.
function _qrec_begin
    set -l stat ''
    set -l boot ''
    set -l up 0
    test -r /proc/$fish_pid/stat
    and read stat </proc/$fish_pid/stat
    test -r /proc/sys/kernel/random/boot_id
    and read boot </proc/sys/kernel/random/boot_id
    test -r /proc/uptime
    and read up </proc/uptime
    set -l ticks (string split ' ' -- (string replace -r '.*\\) ' '' -- $stat))[20]
    set -g _qrec_zero (math (command date +%s.%N) - (string split ' ' -- $up)[1])
    set -l now (_qrec_clock)
    set -g _qrec_file $_qrec_folder/(string replace -a / _ -- $hostname).$fish_pid.$now
    set -g _qrec_head (string join \t -- qrec-typed 1 0000000000 fish $hostname $fish_pid 0$ticks $boot $now $_qrec_about .)
    set -g _qrec_count 0
    set -g _qrec_shell $fish_pid
    set -g _qrec_told
    set -g _qrec_wanted
    set -g _qrec_noted
    set -g _qrec_program
    set -g _qrec_jobs
end

if status is-interactive; and test "$TERM" != dumb
    test "$_qrec_shell" = $fish_pid
    or _qrec_begin
    test -z "$_qrec_typed"; or test -f $_qrec_file
    or _qrec_make
    true
end
