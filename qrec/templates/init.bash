# What is typed is noted in a file that only you can read, by the shell itself: no process is started for it.
#
# Enter first calls _qrec_enter, which sees the line as it stands, and then accepts it as always.  PS0 tells that it is
# whole and begins; PROMPT_COMMAND that it is over.  No DEBUG trap is taken.  Nothing here changes $?, $_ or PIPESTATUS.

_qrec_folder=@FOLDER@ _qrec_about=@ABOUT@ _qrec_typed=@TYPED@ _qrec_options=@OPTIONS@
_qrec_ignore=@IGNORE@ _qrec_record=@RECORD@ _qrec_secrets=@SECRETS@
_qrec_nl=$'\n' _qrec_tab=$'\t' _qrec_back=$'\\' _qrec_nothing=''
# Expanded when a command begins, or one more line is asked for; and to nothing.
# shellcheck disable=SC2016
_qrec_ps0='${_qrec_nothing:$((_qrec_began = 1, 0)):0}' _qrec_ps2='${_qrec_nothing:$((_qrec_more = 1, 0)):0}'
_qrec_version=$((BASH_VERSINFO[0] * 100 + BASH_VERSINFO[1]))

# The time in microseconds; before bash 5 there are only seconds.
_qrec_clock() {
    if [[ ${EPOCHREALTIME-} ]]; then
        _qrec_now=${EPOCHREALTIME/[.,]/}
    else
        builtin printf -v _qrec_now '%(%s)T000000' -1
    fi
}

# Whether _qrec_text may be noted.  A pattern that cannot be understood fits all: better lose a line than tell a secret.
_qrec_may_note() {
    local first own='^([A-Za-z_][A-Za-z_0-9]*=[^[:blank:]]*[[:blank:]]+)*(command[[:blank:]]+)?([^[:blank:]]*/)?qrec([[:space:]]|$)'
    [[ $_qrec_text == [[:blank:]]* || ${#_qrec_text} -gt 32768 ]] && return 1
    [[ $_qrec_text == *qrec* && $_qrec_text =~ $own ]] && return 1
    first=${_qrec_text%%[[:space:]]*}
    [[ $first == [A-Za-z_]* && ${BASH_ALIASES["$first"]-} == *qrec* && ${BASH_ALIASES["$first"]} =~ $own ]] && return 1
    [[ $_qrec_ignore ]] || return 0
    [[ $_qrec_text =~ $_qrec_ignore ]]
    (($? == 1))
}

# Whether _qrec_text smells of a secret, which must not lie in a file for long.
_qrec_smells() {
    case ${_qrec_text,,} in
        @HINTS@) return 0 ;;
    esac
    [[ $_qrec_secrets && $_qrec_text =~ $_qrec_secrets ]]
}

# Make the file, which only you may read, with what stands above its lines.
_qrec_make() {
    (
        umask 077
        [[ -d $_qrec_folder ]] || command mkdir -p -- "$_qrec_folder"
        [[ ! -O $_qrec_folder ]] || builtin printf '%s\n' "$_qrec_head" >>"$_qrec_file"
    )
    [[ -f $_qrec_file ]]
}

# Append a line, or say once that it cannot be done.  It stands between line ends of its own, so that what a full disk
# cuts off spoils no other.
_qrec_note() {
    if [[ -f $_qrec_file ]] || { [[ ! $_qrec_told ]] && _qrec_make; }; then
        builtin printf '\n%s\t.\n' "$1" >>"$_qrec_file" && return
    fi
    [[ $_qrec_told ]] || builtin printf 'qrec: what you type is not recorded: cannot write in %s\n' "$_qrec_folder" >&3
    _qrec_told=1
}

_qrec_escape() {
    _qrec_escaped=$1
    [[ $1 == *["$_qrec_back$_qrec_nl$_qrec_tab"]* ]] || return 0
    _qrec_escaped=${1//"$_qrec_back"/"$_qrec_back$_qrec_back"}
    _qrec_escaped=${_qrec_escaped//"$_qrec_nl"/"${_qrec_back}n"}
    _qrec_escaped=${_qrec_escaped//"$_qrec_tab"/"${_qrec_back}t"}
}

# Note that the command _qrec_text begins.
_qrec_note_start() {
    local folder
    _qrec_escape "$_qrec_pwd"
    folder=$_qrec_escaped
    _qrec_escape "$_qrec_text"
    _qrec_note "S$_qrec_tab$_qrec_count$_qrec_tab$_qrec_start$_qrec_tab$folder$_qrec_tab$_qrec_escaped"
    _qrec_noted=1
}

# Take the quoted parts out of a line.
_qrec_unquote() {
    local rest=$1 quoted='^([^"'\''\]*)('\''[^'\'']*'\''|"([^"\`$]|\$[A-Za-z_{]|\\.)*"|\\.)(.*)$'
    _qrec_bare=''
    [[ $rest == *[\"\'\\]* ]] && while [[ $rest =~ $quoted ]]; do
        _qrec_bare+="${BASH_REMATCH[1]}x" rest=${BASH_REMATCH[4]}
    done
    _qrec_bare+=$rest
}

# Whether no more lines belong to one without its quoted parts, as far as is easily seen.
_qrec_is_whole() {
    local end=${_qrec_bare##*[![:blank:]]}
    case " ${_qrec_bare%"$end"}" in
        *[\(\)\{\}\`\"\'\\"$_qrec_nl"]* | *'<<'* | *'|' | *'&&') return 1 ;;
        *[[:blank:]\;\&\|]for[[:blank:]]* | *[[:blank:]\;\&\|]while[[:blank:]]* | *[[:blank:]\;\&\|]until[[:blank:]]*) return 1 ;;
        *[[:blank:]\;\&\|]if[[:blank:]]* | *[[:blank:]\;\&\|]case[[:blank:]]* | *[[:blank:]\;\&\|]select[[:blank:]]*) return 1 ;;
        *[[:blank:]\;\&\|]function[[:blank:]]* | *[[:blank:]\;\&\|]coproc[[:blank:]]*) return 1 ;;
    esac
}

# Whether a line is one command or pipeline, and its first word just the name of a program.
_qrec_is_simple() {
    local words='^([A-Za-z_][A-Za-z_0-9]*=[A-Za-z_0-9./:,@%+-]*[[:blank:]]+)*([A-Za-z0-9_.+-]+)([[:blank:]]|$)'
    [[ $1 =~ $words ]] || return
    _qrec_word=${BASH_REMATCH[2]}
    _qrec_unquote "$1"
    _qrec_bare=${_qrec_bare//'>&'[0-9]/} _qrec_bare=${_qrec_bare//'&>'/}
    _qrec_is_whole || return
    [[ $_qrec_bare == *[\;\&]* || $_qrec_bare == *'||'* || ($1 == *!* && $- == *H*) ]] && return 1
    builtin compgen -A alias -A builtin -A function -A keyword -X "!$_qrec_word" -- "$_qrec_word" >/dev/null && return 1
    builtin type -P -- "$_qrec_word" >/dev/null && builtin type -P qrec >/dev/null
}

# Let the command be recorded whole: in this line its program stands for `qrec run` of it.  The shell reads the line
# after this, and remembers it as it was typed.
_qrec_upgrade() {
    [[ $_qrec_record && $READLINE_LINE =~ $_qrec_record ]] && _qrec_is_simple "$READLINE_LINE" || return
    # shellcheck disable=SC2139  # it is for this one line
    builtin alias -- "$_qrec_word=command qrec$_qrec_options run -q -- $_qrec_word" && _qrec_alias=$_qrec_word
}

# Look at a line that is about to be accepted.
_qrec_look() {
    _qrec_first
    _qrec_unalias
    [[ $_qrec_text$READLINE_LINE ]] || return
    # Without PROMPT_COMMAND the shell has asked for another line where a `!` stood for nothing, and to see what it is.
    if [[ $_qrec_text && ($_qrec_more || ! $_qrec_asks) ]]; then
        _qrec_text+=$_qrec_nl$READLINE_LINE
    else
        _qrec_drop
        _qrec_text=$READLINE_LINE
        ((_qrec_count += 1))
    fi
    _qrec_wanted='' _qrec_more=''
    _qrec_may_note || return
    [[ $_qrec_text == "$READLINE_LINE" ]] && _qrec_upgrade && return
    _qrec_wanted=$_qrec_typed
    _qrec_clock
    _qrec_start=$_qrec_now _qrec_pwd=$PWD
    # What more lines bring, or what a `!` stands for, is known later; a secret had better not be there for long.
    [[ $_qrec_wanted ]] || return
    _qrec_smelly=''
    _qrec_smells && _qrec_smelly=1
    [[ $_qrec_smelly || ($_qrec_text == *!* && $- == *H*) ]] && return
    _qrec_unquote "$_qrec_text"
    _qrec_is_whole && _qrec_note_start
}

# Do something and leave what the last [[ =~ ]] found as it was; before 5.1 it cannot be put back.
_qrec_do() {
    local found=(${BASH_REMATCH[@]+"${BASH_REMATCH[@]}"})
    "$@"
    ((_qrec_version < 501)) || BASH_REMATCH=(${found[@]+"${found[@]}"})
}

# Before a line is accepted.  One that a running command reads, by `read -e` say, is none of ours.
_qrec_enter() {
    # Whoever has set PROMPT_COMMAND anew has hidden from us the end of that.
    [[ ${PROMPT_COMMAND-} == _qrec_prompt* ]] || _qrec_text='' _qrec_began=''
    [[ $_qrec_began ]] || _qrec_do _qrec_look 3>&2 2>/dev/null || :
}

# Take a line with `!` as the history has it, if that has a new one.
_qrec_expand() {
    local mark='\!' line='^ *[0-9]+\*? +(.*)$'
    [[ $_qrec_text == *!* && $- == *H* && $_qrec_version -ge 404 && ${mark@P} != "$_qrec_number" ]] || return
    [[ $(HISTTIMEFORMAT='' builtin history 1) =~ $line ]] && _qrec_text=${BASH_REMATCH[1]} _qrec_noted=''
}

# Note that the command _qrec_text is over.  qrec takes out secrets as it takes the lines in: with one there, that is now.
_qrec_note_end() {
    _qrec_clock
    if _qrec_expand; then
        _qrec_may_note || return
        _qrec_smells && _qrec_smelly=1
    fi
    [[ $_qrec_noted ]] || _qrec_note_start
    _qrec_note "E$_qrec_tab$_qrec_count$_qrec_tab$_qrec_now$_qrec_tab$_qrec_code"
    [[ $_qrec_smelly ]] && (command qrec@OPTIONS_PLAIN@ ls -n 1 </dev/null >/dev/null 2>&1 3>&- &)
}

_qrec_unalias() {
    [[ $_qrec_alias ]] && builtin unalias -- "$_qrec_alias"
    _qrec_alias=''
}

# Forget what is there of a command that never began.
_qrec_drop() {
    [[ ! $_qrec_noted ]] || _qrec_note "A$_qrec_tab$_qrec_count"
    _qrec_text='' _qrec_wanted='' _qrec_noted='' _qrec_began='' _qrec_more=''
}

_qrec_end() {
    local mark='\!'
    _qrec_unalias
    if [[ $_qrec_wanted && ($_qrec_began || ! $_qrec_asks) ]]; then
        _qrec_note_end
        _qrec_noted=''
    fi
    _qrec_drop
    _qrec_asks=''
    ((_qrec_version >= 404)) || return
    if ! shopt -q promptvars; then
        PS0=${PS0//"$_qrec_ps0"/} PS2=${PS2//"$_qrec_ps2"/}
        return
    fi
    _qrec_asks=1 _qrec_number=${mark@P}
    [[ ${PS0-} == *"$_qrec_ps0"* ]] || PS0+=$_qrec_ps0
    [[ ${PS2-} == *"$_qrec_ps2"* ]] || PS2+=$_qrec_ps2
}

# Before each prompt, and before all else that is done there: so the code is that of the command.
_qrec_prompt() {
    _qrec_code=$?
    _qrec_do _qrec_end 3>&2 2>/dev/null || :
    # From 5.1 on bash itself gives each its $?; before, what follows us has it from here.
    [[ $_qrec_version -ge 501 || $- == *e* || ${PROMPT_COMMAND-} == _qrec_prompt ]] || return "$_qrec_code"
}

# Stands where _qrec_prompt stood, if something was put before it: $? is as before.
_qrec_same() {
    local code=$?
    [[ $- == *e* ]] || return "$code"
}

# Be the first of PROMPT_COMMAND, even if it has been set again since.
_qrec_first() {
    local rest
    [[ ${PROMPT_COMMAND-} == _qrec_prompt ]] && return
    if ((_qrec_version >= 501)); then
        rest=("${PROMPT_COMMAND[@]//_qrec_prompt;/}")
        PROMPT_COMMAND=(_qrec_prompt "${rest[@]//_qrec_prompt/_qrec_same}")
    elif [[ ${PROMPT_COMMAND-} != "_qrec_prompt$_qrec_nl"* ]]; then
        # shellcheck disable=SC2178  # no array before 5.1
        PROMPT_COMMAND=_qrec_prompt${PROMPT_COMMAND:+$_qrec_nl${PROMPT_COMMAND//_qrec_prompt/_qrec_same}}
    fi
}

# Put _qrec_enter before what accepts a line, for each key that does just that.
_qrec_bind() {
    local map keys key
    for map in emacs-standard vi-insert vi-command; do
        keys=$(builtin bind -m "$map" -q accept-line 2>/dev/null)
        builtin bind -m "$map" '"\C-x\C-^": accept-line'
        # shellcheck disable=SC2016  # as it is when Enter is pressed, so that it is the same afterwards
        builtin bind -m "$map" -x '"\C-x\C-]": _qrec_enter "$_"'
        for key in '"\C-j"' '"\C-m"'; do
            [[ $keys == *"$key"* ]] && builtin bind -m "$map" "$key: \"\\C-x\\C-]\\C-x\\C-^\""
        done
    done
}

# Say where this shell's lines go, and what stands above them.
_qrec_begin() {
    local stat='' boot='' IFS=' '
    [[ -r /proc/$$/stat ]] && read -r stat <"/proc/$$/stat"
    [[ -r /proc/sys/kernel/random/boot_id ]] && read -r boot </proc/sys/kernel/random/boot_id
    # shellcheck disable=SC2086  # fields, of which the twentieth behind the name is when the process began
    set -- ${stat##*) }
    _qrec_clock
    _qrec_file=$_qrec_folder/${HOSTNAME//\//_}.$$.$_qrec_now
    builtin printf -v _qrec_head 'qrec-typed\t1\t0000000000\tbash\t%s\t%s\t%s\t%s\t%s\t%s\t.' \
        "$HOSTNAME" "$$" "${20-0}" "$boot" "$_qrec_now" "$_qrec_about"
    _qrec_smelly='' _qrec_count=0 _qrec_code=0 _qrec_shell=$$
    _qrec_told='' _qrec_text='' _qrec_wanted='' _qrec_noted='' _qrec_began='' _qrec_alias='' _qrec_number='' _qrec_more='' _qrec_asks=''
}

if [[ $- == *i* && ${TERM-} != dumb && (-o emacs || -o vi) ]]; then
    [[ ${_qrec_shell-} == "$$" ]] || _qrec_begin || :
    { _qrec_bind; _qrec_first; [[ ! $_qrec_typed || -f $_qrec_file ]] || _qrec_make; } 2>/dev/null || :
fi
